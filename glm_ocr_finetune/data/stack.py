"""Sequences and images of a batch, stacked into what the model takes; for training and for reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ..inputs.prompt import PromptRenderer
from ..vision.pixels import Pixels

if TYPE_CHECKING:
    import torch


def pad(
    rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"], multiple_of: int = 1
) -> torch.Tensor:
    """(B, L) int64, each row padded with ``value`` on the ``left`` or ``right`` to the longest, L rounded up."""
    import torch

    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value, padding_side=side)
    more = -padded.shape[1] % multiple_of
    return torch.nn.functional.pad(padded, (more, 0) if side == "left" else (0, more), value=value)


def stack_inputs(
    sequences: Sequence[Sequence[int]],
    pixels: Sequence[Pixels],
    renderer: PromptRenderer,
    side: Literal["left", "right"],
    multiple_of: int = 1,
) -> dict[str, torch.Tensor]:
    """What the model's ``forward`` takes for B sequences of one image each.

    Returns:
        input_ids, attention_mask, mm_token_type_ids: (B, L) int64; image_grid_thw: (B, 3); pixel_values: (patches of
        the images without features, 1176), image_features: (tokens of the others, hidden), each only when there are
        any; with a cache also image_keys: (B, 16) uint8, and is_cached: (B,) bool.
    """
    import torch

    ids = pad(sequences, renderer.tokenizer.pad_token_id, side, multiple_of)
    batch = {
        "input_ids": ids,
        "attention_mask": pad([[1] * len(row) for row in sequences], 0, side, multiple_of),
        "mm_token_type_ids": (ids == renderer.image_token_id).long(),
        "image_grid_thw": torch.cat([image.grid_thw for image in pixels]),
    }
    if patches := [image.patches for image in pixels if image.patches is not None]:
        batch["pixel_values"] = torch.cat(patches)
    if features := [image.features for image in pixels if image.features is not None]:
        batch["image_features"] = torch.cat(features)
    if keys := [list(image.key) for image in pixels if image.key is not None]:
        batch["image_keys"] = torch.tensor(keys, dtype=torch.uint8)
        batch["is_cached"] = torch.tensor([image.features is not None for image in pixels])
    return batch
