"""Features of a batch: what is cached is taken, what is not is encoded and kept, in the order of the images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from drawing import draw_line

from glm_ocr_finetune.data.stack import stack_inputs
from glm_ocr_finetune.inputs.processor import load_processor
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.adapters import add_lora
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.vision import encoder as encoding
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache
from glm_ocr_finetune.vision.encoder import VisionEncoder, backbone_of, bring_back
from glm_ocr_finetune.vision.pixels import read_pixels


@pytest.fixture(scope="module")
def model() -> Any:
    return load_weights("tiny-random").eval()


def batch_of(model: Any, cache: VisionCache | None = None) -> dict[str, Any]:
    """Three lines of different widths."""
    renderer = PromptRenderer(load_processor(model.name_or_path))
    pixels = [read_pixels(draw_line(str(width), (width, 56)), renderer, cache) for width in (140, 280, 196)]
    return stack_inputs([renderer.prompt_ids("Read:", one.num_tokens) for one in pixels], pixels, renderer, "right")


def test_the_backbone_is_found_with_and_without_adapters(model: Any) -> None:
    assert backbone_of(model) is model.model
    fresh = load_weights("tiny-random")
    assert backbone_of(add_lora(fresh, 4, 8, 0.0, "q_proj")) is fresh.model


def test_features_are_those_of_the_model_itself(model: Any) -> None:
    batch = batch_of(model)
    encoder = VisionEncoder()
    found = encoder.features(model.model, batch)
    with torch.no_grad():
        whole = model.model.get_image_features(batch["pixel_values"], batch["image_grid_thw"], return_dict=True)
    assert [len(one) for one in found] == (batch["image_grid_thw"].prod(-1) // 4).tolist()
    torch.testing.assert_close(torch.cat(found), torch.cat(list(whole.pooler_output)))
    assert encoder.live == 3
    assert not found[0].requires_grad


def test_a_few_images_at_a_time_give_the_same(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(model)
    whole = VisionEncoder().features(model.model, batch)
    monkeypatch.setattr(encoding, "PATCHES_AT_A_TIME", 1)
    for one, other in zip(VisionEncoder().features(model.model, batch), whole, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("threads", [1, 2])
def test_features_that_are_kept_do_not_tell_who_was_encoded_beside(model: Any, threads: int) -> None:
    """A run that goes on with an empty cache meets the images in other company, and has to find the same bits."""
    renderer = PromptRenderer(load_processor(model.name_or_path))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = VisionEncoder(VisionCache("k", MemoryStore(1 << 20)))
        found = together.features(model.model, batch_of(model, together.cache))
        for width, expected in zip((140, 280, 196), found, strict=True):
            alone = VisionEncoder(VisionCache("k", MemoryStore(1 << 20)))
            pixels = [read_pixels(draw_line(str(width), (width, 56)), renderer, alone.cache)]
            ids = [renderer.prompt_ids("Read:", pixels[0].num_tokens)]
            assert torch.equal(alone.features(model.model, stack_inputs(ids, pixels, renderer, "right"))[0], expected)
    finally:
        torch.set_num_threads(before)


def test_an_image_is_encoded_once_and_then_found(model: Any) -> None:
    cache = VisionCache("tower", MemoryStore(float("inf")))
    encoder = VisionEncoder(cache)
    first = encoder.features(model.model, batch_of(model, cache))
    batch = batch_of(model, cache)
    assert "pixel_values" not in batch
    assert batch["is_cached"].all()
    encoder.live = 0
    for one, other in zip(encoder.features(model.model, batch), first, strict=True):
        assert torch.equal(one, other)
    assert encoder.live == 0


def test_cached_and_fresh_images_of_one_batch_keep_their_places(model: Any) -> None:
    plain = VisionEncoder().features(model.model, batch_of(model))
    cache = VisionCache("tower", MemoryStore(float("inf")))
    VisionEncoder(cache).features(model.model, batch_of(model, cache))
    store: Any = cache.store
    del store.entries[list(store.entries)[1]]
    batch = batch_of(model, cache)
    assert batch["is_cached"].tolist() == [True, False, True]
    for one, other in zip(VisionEncoder(cache).features(model.model, batch), plain, strict=True):
        torch.testing.assert_close(one, other)


def test_a_tower_that_is_trained_gets_its_gradient(model: Any) -> None:
    sum(one.sum() for one in VisionEncoder(frozen=False).features(model.model, batch_of(model))).backward()
    assert model.model.visual.patch_embed.proj.weight.grad is not None
    model.zero_grad()


def test_a_tower_elsewhere_comes_back_before_something_is_generated(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``generate`` takes the device of a model's first weight, the tower's, and moves its inputs there."""
    visual = backbone_of(model).visual
    moved: list[Any] = []
    monkeypatch.setattr(visual, "to", moved.append)
    bring_back(model, torch.device("cpu"))
    assert moved == []
    monkeypatch.setattr(type(visual), "device", property(lambda self: torch.device("cuda", 0)))
    bring_back(model, torch.device("cpu"))
    assert moved == [torch.device("cpu")]
    assert next(model.parameters()) is next(visual.parameters()), "then nothing has to come back any more"


@pytest.mark.parametrize(("frozen", "most"), [(True, 3), (False, 1)])
def test_ranks_that_share_weights_run_the_tower_equally_often(
    model: Any, monkeypatch: pytest.MonkeyPatch, frozen: bool, most: int
) -> None:
    """Another rank has images for as many runs as ``most``; one with fewer runs it on nothing, one with all cached too."""
    calls: list[int] = []
    tower = model.model.get_image_features

    def counted(patches: torch.Tensor, grids: torch.Tensor, **options: Any) -> Any:
        calls.append(len(grids))
        return tower(patches, grids, **options)

    monkeypatch.setattr(model.model, "get_image_features", counted)
    monkeypatch.setattr(encoding, "PATCHES_AT_A_TIME", 1)
    monkeypatch.setattr(encoding, "greatest", lambda *values: [max(most, *values)])
    cache = VisionCache("name", MemoryStore(1 << 20)) if frozen else None
    encoder = VisionEncoder(cache, frozen, together=True)
    expected = VisionEncoder().features(model.model, batch_of(model))
    calls.clear()
    for _ in range(2):
        found = encoder.features(model.model, batch_of(model, cache))
        assert [len(one) for one in found] == [len(one) for one in expected]
    assert calls == ([1] * 6 if frozen else [3] * 2)
