"""One image's way to the tower: the budget that a long sample leaves it, and pixels as the processor makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import draw_line
from PIL import Image

from glm_ocr_finetune.inputs.geometry import PATCH_SIDE, PIXELS_PER_TOKEN
from glm_ocr_finetune.inputs.images import ImageError
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache
from glm_ocr_finetune.vision.pixels import (
    SHRINK_FLOOR,
    TooLong,
    fit_image,
    image_to_pixels,
    read_pixels,
)

BUDGET = PixelBudget(6_272, 4_816_896)


def test_a_token_is_two_by_two_patches() -> None:
    assert PIXELS_PER_TOKEN == (2 * PATCH_SIDE) ** 2


@pytest.mark.parametrize("max_length", range(300, 1700, 100))
def test_a_shrunk_image_fills_the_room_and_never_more(max_length: int) -> None:
    tokens = BUDGET.num_image_tokens(1120, 1120)
    fitted = fit_image(1120, 1120, BUDGET, 100, max_length) if max_length - 100 >= SHRINK_FLOOR * tokens else None
    if fitted is None:
        with pytest.raises(TooLong, match=f"100 tokens of text and {tokens} of image exceed --max_length {max_length}"):
            fit_image(1120, 1120, BUDGET, 100, max_length)
        return
    left = fitted.num_image_tokens(1120, 1120)
    assert SHRINK_FLOOR * tokens <= left <= max_length - 100
    assert (fitted == BUDGET) == (tokens + 100 <= max_length)


def test_pixels_are_the_processor_s(processor: Any) -> None:
    image = draw_line("amber", (300, 70)).convert("RGB")
    found = image_to_pixels(image, processor, PixelBudget.of(processor))
    expected = processor.image_processor(images=[image], return_tensors="pt")
    assert torch.equal(found.patches, expected["pixel_values"])
    assert torch.equal(found.grid_thw, expected["image_grid_thw"])
    assert found.num_tokens == BUDGET.num_image_tokens(70, 300) == len(found.patches) // 4


def test_an_image_with_known_features_is_not_decoded(
    processor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.png"
    draw_line("amber").save(file)
    cache = VisionCache("tower", MemoryStore(float("inf")))
    fresh = read_pixels(str(file), PromptRenderer(processor), cache, BUDGET)
    assert fresh.features is None
    assert fresh.key is not None
    cache.put(fresh.key, torch.ones(fresh.num_tokens, 3))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    known = read_pixels(str(file), PromptRenderer(processor), cache, BUDGET)
    assert known.patches is None
    assert torch.equal(known.grid_thw, fresh.grid_thw)
    assert known.features is not None


def test_an_image_that_cannot_be_read_says_which(processor: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"a\.png"):
        read_pixels(str(tmp_path / "a.png"), PromptRenderer(processor))
