"""A model or an adapter that lost a file, or a part of one, is told in one line by every command that loads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.processor import save_processor
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.checkpoint import Sidecar
from glm_ocr_finetune.model.damage import check_adapter, check_weights
from glm_ocr_finetune.model.loading import load_for_reading, load_model

Run = Callable[..., tuple[int, str, str]]
Harm = Callable[[Path], object]


def cut(name: str, length: int) -> Harm:
    """What cuts a file off."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def removed(name: str) -> Harm:
    return lambda folder: (folder / name).unlink()


def changed(name: str, **values: object) -> Harm:
    """What changes a JSON object in a file."""

    def change(folder: Path) -> None:
        held = json.loads((folder / name).read_text())
        deep = {key: held[key] | value if isinstance(value, dict) else value for key, value in values.items()}
        (folder / name).write_text(json.dumps(held | deep))

    return change


def sharded(folder: Path) -> None:
    """An index in the place of the weights, which names a file that is not there."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")


MODELS = {
    "half": (cut("model.safetensors", 3_000_000), "model.safetensors is damaged: .*; copy it again"),
    "empty": (cut("model.safetensors", 0), "model.safetensors is damaged: "),
    "no weights": (removed("model.safetensors"), "holds no model that can be read: .*model.safetensors"),
    "shard": (sharded, "model-00002-of-00002.safetensors is missing, and .*index.json beside it names it"),
    "other shapes": (
        changed("config.json", text_config={"hidden_size": 64}),
        "is damaged: config.json and the weights",
    ),
    "odd": (changed("config.json", text_config=5), "holds no model that can be read: "),
    "no template": (removed("chat_template.jinja"), "chat_template.jinja is missing there; copy it from the base"),
    "half a template": (cut("chat_template.jinja", 40), "chat_template.jinja is damaged: .*; copy it from the base"),
    "no tokenizer": (removed("tokenizer.json"), "tokenizer.json is missing there; copy it from the base model"),
    "half a tokenizer": (cut("tokenizer.json", 400), "holds no processor that can be read: "),
    "no settings": (removed("tokenizer_config.json"), "tokenizer_config.json is missing there"),
}


def prompt_of(model: Path) -> list[int]:
    _, processor, _ = load_for_reading(str(model), device_map="cpu")
    return PromptRenderer(processor).prompt_ids("Text Recognition:", 1)


@pytest.mark.parametrize("name", MODELS)
def test_a_damaged_model_is_told(tiny_random: Path, tmp_path: Path, name: str) -> None:
    harm, message = MODELS[name]
    model = Path(shutil.copytree(tiny_random, tmp_path / "model"))
    harm(model)
    with pytest.raises(UserError, match=message) as raised:
        prompt_of(model)
    assert str(raised.value).count("\n") == 0


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "whole"
    model, processor = load_model("tiny-random", use_lora=True, lora_rank=2)
    model.save_pretrained(folder)
    save_processor(processor, folder)
    Sidecar("tiny-random").write(folder)
    return folder


ADAPTERS = {
    "no weights": (removed("adapter_model.safetensors"), "is missing its weights, adapter_model.safetensors"),
    "half": (cut("adapter_model.safetensors", 100), "adapter_model.safetensors is damaged: "),
    "half a configuration": (cut("adapter_config.json", 50), "adapter_config.json is damaged: "),
    "no type": (
        changed("adapter_config.json", peft_type=None),
        "adapter_config.json is damaged: it names no peft_type",
    ),
    "odd type": (changed("adapter_config.json", peft_type="NONE"), "holds no adapter that can be read: 'NONE'"),
    "other shapes": (changed("adapter_config.json", r=3), "does not fit .*: the shapes of their weights differ"),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_damaged_adapter_is_told(adapter: Path, tmp_path: Path, name: str) -> None:
    harm, message = ADAPTERS[name]
    damaged = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    harm(damaged)
    with pytest.raises(UserError, match=message):
        load_for_reading(str(damaged), device_map="cpu")


def test_an_adapter_whose_base_nothing_names(adapter: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    removed("glm_ocr_finetune.json")(damaged)
    changed("adapter_config.json", base_model_name_or_path=None)(damaged)
    with pytest.raises(UserError, match="is damaged: it names no base_model_name_or_path"):
        load_for_reading(str(damaged), device_map="cpu")


def test_what_is_whole_passes(tiny_random: Path, adapter: Path) -> None:
    check_weights(tiny_random)
    check_weights("owner/name")
    check_adapter(str(adapter))


@pytest.mark.parametrize("command", ["train", "infer", "evaluate", "export", "mtp"])
def test_every_command_tells_before_it_reads_data(tiny_random: Path, tmp_path: Path, run: Run, command: str) -> None:
    model = Path(shutil.copytree(tiny_random, tmp_path / "model"))
    cut("model.safetensors", 3_000_000)(model)
    image = tmp_path / "a.png"
    shutil.copyfile(Path(__file__), image)
    (tmp_path / "data.csv").write_text("image,text\na.png,a\n")
    given = ["--image", image] if command == "infer" else ["--dataset_name", tmp_path / "data.csv"]
    given += [] if command == "infer" else ["--output_dir", tmp_path / "out"]
    code, _, err = run(command, "--model", model, *given)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {model}/model.safetensors is damaged: ")
    assert "read as" not in err
