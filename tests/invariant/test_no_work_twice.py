"""What saves work must not change a figure: cache, rows without padding, and the head on trained positions only."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import set_seed

import glm_ocr_finetune.training.trainer as trainer_module
from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import content_key, open_upright
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.training.cache_choice import choose_cache
from glm_ocr_finetune.vision.cache import DiskStore, MemoryStore, VisionCache, fingerprint

DEMO = Path(trainer_module.__file__).parents[1] / "assets" / "demo"
STEPS = 50
SAMPLES = 40  # at four a step, each is seen five times


@pytest.fixture(scope="module")
def base() -> tuple[Any, Any]:
    """The tiny model that reads, and its processor."""
    return load_model("tiny")


def train(base: tuple[Any, Any], output: Path, steps: int = STEPS, **changes: Any) -> Any:
    """A trainer after its run on the first lines of the demo, always from the same weights and in the same order."""
    set_seed(1)
    model, processor = copy.deepcopy(base[0]), base[1]
    splits = load_splits(
        DataArguments(str(DEMO), max_samples=SAMPLES), PromptRenderer(processor), 2048, 0, evaluate=False
    )
    defaults: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": steps,
        "eval_strategy": "no",
        "report_to": "none",
        "learning_rate": 2e-4,
        "lr_scheduler_type": "constant",
        "warmup_ratio": 0.0,
        "logging_steps": 1,
        "gradient_accumulation_steps": 1,
        "cache_vision_features": "off",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(**defaults | changes)
    cache = choose_cache(model, processor, splits, arguments)
    collator = VLMDataCollator(PromptRenderer(processor), 2048, cache=cache)
    trainer = create_trainer(model, processor, splits.train, arguments, None, "serve", collator, splits.train_tokens)
    trainer.train()
    return trainer


def losses(trainer: Any) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.fixture(scope="module")
def plain(base: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The run in which nothing is saved: every image encoded anew, batches padded, TRL's head on every position."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "replace_forward", lambda *_: None)
        return train(base, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "changes",
    [
        {"padding_free": False},
        {"padding_free": True},
        {"cache_vision_features": "memory"},
        {"cache_vision_features": "disk", "padding_free": False},
    ],
    ids=str,
)
def test_fifty_steps_give_the_same_losses_and_weights(
    base: tuple[Any, Any], plain: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = train(base, tmp_path, **changes)
    assert len(losses(found)) == STEPS
    assert losses(found) == pytest.approx(losses(plain), rel=1e-5, abs=1e-6)
    for (name, a), (_, b) in zip(found.model.named_parameters(), plain.model.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


def test_rows_of_samples_equal_padded_batches_in_gradient(base: tuple[Any, Any], tmp_path: Path) -> None:
    one = train(base, tmp_path / "a", steps=1, padding_free=True, learning_rate=1.0)
    other = train(base, tmp_path / "b", steps=1, padding_free=False, learning_rate=1.0)
    norms = [trainer.state.log_history[0]["grad_norm"] for trainer in (one, other)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_an_image_is_encoded_once_and_not_opened_again(
    base: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, opened = [], []
    visual_class = type(base[0].model.visual)
    forward = visual_class.forward
    monkeypatch.setattr(
        visual_class, "forward", lambda self, x, **k: encoded.append(len(k["grid_thw"])) or forward(self, x, **k)
    )
    monkeypatch.setattr(
        "glm_ocr_finetune.vision.pixels.open_upright", lambda image: opened.append(image) or open_upright(image)
    )
    train(base, tmp_path, steps=30, cache_vision_features="memory")  # three epochs of ten steps
    assert sum(encoded) == SAMPLES
    assert len(opened) == SAMPLES


def test_the_next_run_and_other_ranks_find_what_is_on_disk(
    base: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = train(base, tmp_path / "a", steps=10, cache_vision_features="disk")
    monkeypatch.setattr("glm_ocr_finetune.vision.pixels.open_upright", lambda image: pytest.fail("decoded again"))
    second = train(base, tmp_path / "b", steps=10, cache_vision_features="disk")
    assert losses(first) == pytest.approx(losses(second), rel=1e-6)


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_a_full_cache_says_so_and_changes_nothing(
    base: tuple[Any, Any], plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, caplog: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    found = train(base, tmp_path / "a", steps=20, cache_vision_features=mode, vision_cache_gb=0.0005)
    assert losses(found) == pytest.approx(losses(plain)[:20], rel=1e-5, abs=1e-6)
    cache = found.data_collator.cache
    assert cache.refused > 0
    assert cache.store.used <= 0.0005 * 1e9


def test_auto_says_what_it_decides(base: tuple[Any, Any], tmp_path: Path) -> None:
    kept = train(base, tmp_path / "a", steps=11, cache_vision_features="auto")
    once = train(base, tmp_path / "b", steps=10, cache_vision_features="auto")
    assert isinstance(kept.data_collator.cache.store, MemoryStore)
    assert once.data_collator.cache is None


@pytest.mark.parametrize("flag", ["freeze_vision_tower", "freeze_multi_modal_projector"])
@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_features_of_a_trained_part_are_not_cached(run: Any, tmp_path: Path, flag: str, mode: str) -> None:
    code, _, error = run(
        *("train", "--dataset_name", DEMO, "--model_name", "tiny-random", "--output_dir", tmp_path),
        *(f"--{flag}", "False", "--cache_vision_features", mode),
    )
    assert code == 2
    assert f"--cache_vision_features {mode} needs features that stay the same" in error


def test_reading_in_a_run_and_after_it_uses_what_is_there(
    base: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = ("--dataset_name", DEMO, "--max_samples", "12", "--report_to", "none", "--max_steps", "4")
    code, _, error = run(
        *("train", "--model_name", "tiny", "--output_dir", tmp_path / "out", "--eval_split", "test"),
        *("--cache_vision_features", "disk", "--gradient_accumulation_steps", "1", *flags),
    )
    assert code == 0, error
    (collection,) = (tmp_path / "cache" / "glm-ocr-finetune" / "vision").iterdir()
    assert len(list(collection.glob("??/*.safetensors"))) == 24  # twelve trained on, twelve read
    monkeypatch.setattr("glm_ocr_finetune.vision.pixels.open_upright", lambda image: pytest.fail("decoded again"))
    evaluate = ("evaluate", "--model", tmp_path / "out", "--dataset_name", DEMO, "--split", "test")
    code, _, error = run(*evaluate, "--max_samples", "12", "--output_dir", tmp_path / "scores")
    assert code == 0, error
    assert "image features: those of an earlier run" in error
    with_cache = (tmp_path / "scores" / "predictions.jsonl").read_text()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    run(*evaluate, "--max_samples", "12", "--output_dir", tmp_path / "again")
    assert (tmp_path / "again" / "predictions.jsonl").read_text() == with_cache


def test_cached_images_are_read_without_the_tower(base: tuple[Any, Any]) -> None:
    from glm_ocr_finetune.reading.generate import Request, generate_all
    from glm_ocr_finetune.vision.encoder import VisionEncoder
    from glm_ocr_finetune.vision.pixels import read_pixels

    model, processor = copy.deepcopy(base[0]).eval(), base[1]
    renderer, encoder = PromptRenderer(processor), VisionEncoder(VisionCache("name", MemoryStore(1e8)))
    images = sorted((DEMO / "images").glob("test-000*.png"))
    requests = [
        Request(lambda image=image: read_pixels(image, renderer, encoder.cache), "Text Recognition:", 60, 40)
        for image in images
    ]
    seen = dict(generate_all(model, renderer, requests, encoder=encoder))
    model.model.visual.to("meta")  # a device on which nothing can be computed: the tower has left
    assert dict(generate_all(model, renderer, requests, encoder=encoder)) == seen


def features_of(number: int, tokens: int = 3) -> torch.Tensor:
    return torch.full((tokens, 4), float(number))


class TestDiskStore:
    """What is wrong on disk is noticed."""

    KEY, OTHER = b"k" * 16, b"o" * 16

    @pytest.fixture
    def store(self, tmp_path: Path) -> DiskStore:
        return DiskStore(tmp_path / "vision" / "one", 1e9)

    def test_keeps_what_was_put(self, store: DiskStore) -> None:
        assert store.get(self.KEY) is None
        assert store.put(self.KEY, features_of(1))
        assert torch.equal(DiskStore(store.directory, 1e9).get(self.KEY), features_of(1))

    @pytest.mark.parametrize("left", [0, 7, 60, -1])
    def test_truncated_file(self, store: DiskStore, left: int, caplog: Any) -> None:
        store.put(self.KEY, features_of(1))
        file = store.file(self.KEY)
        file.write_bytes(file.read_bytes()[:left])
        assert store.get(self.KEY) is None
        assert store.put(self.KEY, features_of(2))
        assert torch.equal(store.get(self.KEY), features_of(2))

    def test_wrong_name(self, store: DiskStore) -> None:
        store.put(self.KEY, features_of(1))
        store.file(self.OTHER).parent.mkdir()
        store.file(self.KEY).rename(store.file(self.OTHER))
        assert store.get(self.OTHER) is None

    def test_a_write_that_is_cut_off_leaves_nothing(self, store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            store.put(self.KEY, features_of(1))
        monkeypatch.undo()
        assert store.get(self.KEY) is None

    def test_older_collections_make_room(self, store: DiskStore) -> None:
        store.put(self.KEY, features_of(1, tokens=100))
        newer = DiskStore(store.directory.parent / "two", 1500.0)
        assert not store.directory.exists()
        assert newer.put(self.KEY, features_of(1, tokens=40))
        assert not newer.put(self.OTHER, features_of(1, tokens=100))


class TestKeys:
    """Whatever changes a feature changes its name."""

    @pytest.fixture
    def image(self, tmp_path: Path) -> dict[str, Any]:
        Image.new("RGB", (112, 56), "white").save(tmp_path / "a.png")
        return {"bytes": (tmp_path / "a.png").read_bytes(), "path": None}

    def test_image_and_budget(self, image: dict[str, Any]) -> None:
        cache = VisionCache("name", MemoryStore(1e6))
        budget, smaller = PixelBudget(6272, 10**6), PixelBudget(6272, 10**5)
        other = {"bytes": image["bytes"] + b"0", "path": None}
        keys = {
            cache.key(content_key(image), budget),
            cache.key(content_key(image), smaller),
            cache.key(content_key(other), budget),
        }
        keys.add(VisionCache("another", MemoryStore(1e6)).key(content_key(image), budget))
        assert len(keys) == 4
        assert cache.key(content_key(image), budget) == cache.key(content_key(dict(image)), budget)

    def test_weights_and_processor(self, base: tuple[Any, Any]) -> None:
        visual, processor = copy.deepcopy(base[0].model.visual), copy.deepcopy(base[1])
        before = fingerprint(visual, processor)
        processor.image_processor.image_mean = [0.5, 0.5, 0.5]
        changed_processor = fingerprint(visual, processor)
        with torch.no_grad():
            visual.blocks[0].mlp.down_proj.weight[0, 0] += 1e-3
        assert len({before, changed_processor, fingerprint(visual, processor), fingerprint(visual, base[1])}) == 4
        assert before == fingerprint(base[0].model.visual, base[1])

    def test_features_of_another_size_are_not_used(self) -> None:
        cache = VisionCache("name", MemoryStore(1e6))
        cache.put(b"k" * 16, features_of(1, tokens=3))
        assert cache.get(b"k" * 16, 4) is None
        assert cache.get(b"k" * 16, 3) is not None


def test_contradiction_is_a_user_error() -> None:
    from glm_ocr_finetune.args import ModelArguments
    from glm_ocr_finetune.training.cache_choice import refuse_contradiction

    arguments = TrainingArguments(output_dir="unused", report_to="none", cache_vision_features="disk")
    with pytest.raises(UserError, match="freeze both parts"):
        refuse_contradiction(ModelArguments(freeze_vision_tower=False), arguments)
