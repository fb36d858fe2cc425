"""Rows of unequal length made one tensor, and images with and without features side by side."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from drawing import draw_line

from glm_ocr_finetune.data.stack import pad, stack_inputs
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.vision.pixels import Pixels, read_pixels


@pytest.mark.parametrize(("side", "rows"), [("left", [[0, 0, 7], [1, 2, 3]]), ("right", [[7, 0, 0], [1, 2, 3]])])
def test_padding_goes_where_it_is_told(side: str, rows: list[list[int]]) -> None:
    padded = pad([[7], [1, 2, 3]], 0, side)
    assert padded.tolist() == rows
    assert padded.dtype == torch.int64


@pytest.mark.parametrize(("multiple", "length"), [(1, 3), (2, 4), (8, 8), (3, 3)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_length_may_be_rounded_up(side: str, multiple: int, length: int) -> None:
    padded = pad([[7], [1, 2, 3]], 0, side, multiple)
    assert padded.shape == (2, length)
    assert [row[row != 0].tolist() for row in padded] == [[7], [1, 2, 3]]
    assert padded[1].tolist() == ([0] * (length - 3) + [1, 2, 3] if side == "left" else [1, 2, 3] + [0] * (length - 3))


def stacked(processor: Any, pixels: list[Pixels], side: str = "right") -> dict[str, torch.Tensor]:
    renderer = PromptRenderer(processor)
    return stack_inputs([renderer.prompt_ids("Read:", one.num_tokens) for one in pixels], pixels, renderer, side)


def test_the_mask_counts_tokens_by_position_not_by_id(processor: Any) -> None:
    """The padding token is also a stop token, so an id says nothing."""
    renderer = PromptRenderer(processor)
    narrow, wide = (read_pixels(draw_line("a", size), renderer) for size in ((140, 56), (280, 56)))
    batch = stacked(processor, [narrow, wide], "left")
    lengths = [len(renderer.prompt_ids("Read:", one.num_tokens)) for one in (narrow, wide)]
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert batch["attention_mask"][0, : lengths[1] - lengths[0]].tolist() == [0] * (lengths[1] - lengths[0])
    assert batch["mm_token_type_ids"].sum(1).tolist() == [narrow.num_tokens, wide.num_tokens]
    assert len(batch["pixel_values"]) == 4 * (narrow.num_tokens + wide.num_tokens)
    assert "is_cached" not in batch


def test_known_features_take_the_place_of_pixels(processor: Any) -> None:
    fresh = read_pixels(draw_line("a"), PromptRenderer(processor))
    known = Pixels(None, fresh.grid_thw, torch.ones(fresh.num_tokens, 192), key=b"k" * 16)
    batch = stacked(processor, [Pixels(fresh.patches, fresh.grid_thw, key=b"f" * 16), known])
    assert batch["is_cached"].tolist() == [False, True]
    assert len(batch["pixel_values"]) == 4 * fresh.num_tokens
    assert batch["image_features"].shape == (fresh.num_tokens, 192)
    assert [bytes(row.tolist()) for row in batch["image_keys"]] == [b"f" * 16, b"k" * 16]
