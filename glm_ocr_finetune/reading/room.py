"""How many images are read together: as many as the free memory of the device holds, counted on the model's shapes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from ..inputs.geometry import FRAMES, PATCHES_PER_TOKEN

if TYPE_CHECKING:
    import torch

SHARE_OF_FREE = 0.5  # the rest is for the vision tower at work, for fragments and for other processes
MOST_ROWS = {"cpu": 64, "cuda": 256}  # on a CPU, with more, a step of decoding takes longer by as much as there are
# fewer of them (docs/log.md); on a GPU it takes about as long for one row as for many, which was not measured here
EXPECTED_ANSWER = 2_048  # tokens that room is kept for where longer answers are allowed; hardly any is longer
MLP_WIDTHS, HIDDEN_WIDTHS = 4, 8  # alive in a layer while a prompt is read: gate, up, their product; rows and attention
CACHE_COPIES = 1.5  # the cache is copied layer by layer where it grows and where rows leave the batch
FP32 = 4  # bytes


@dataclass(frozen=True)
class Room:
    """Bytes for reading, and what reading takes.

    Attributes:
        free: bytes that a batch may take.
        cached: bytes for each token of prompt and answer: keys and values.
        working: bytes for each token of the prompt: pixels, and what a layer holds of it.
        masked: bytes for each pair of tokens of a prompt: the mask of attention.
        most: rows of a batch, however small.
    """

    free: float
    cached: float
    working: float
    masked: float
    most: int

    def rows(self, num_tokens: int, max_new_tokens: int) -> int:
        """Rows of ``num_tokens`` of prompt, each with an answer of up to ``max_new_tokens``; one at least."""
        answer = min(max_new_tokens, EXPECTED_ANSWER)
        row = (num_tokens + answer) * self.cached + num_tokens * self.working + num_tokens**2 * self.masked
        return max(1, min(self.most, int(self.free / max(row, 1))))


def rows_for(model: Any, batch_size: int | None) -> Callable[[int, int], int]:
    """Rows of a batch by the tokens of prompt and answer: ``batch_size`` where it is given, else what fits."""
    return (lambda tokens, answer: batch_size) if batch_size else room_for(model).rows


def room_for(model: Any) -> Room:
    """The room on the device that ``model`` is on. It is a power of two, so that it hardly changes from run to run."""
    weight = model.get_input_embeddings().weight
    text, vision = model.config.text_config, model.config.vision_config
    width = weight.element_size()
    patch = vision.in_channels * FRAMES * vision.patch_size**2
    return Room(
        free=2.0 ** math.floor(math.log2(max(1, SHARE_OF_FREE * free_memory(weight.device)))),
        cached=CACHE_COPIES * 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * width,
        working=width * (MLP_WIDTHS * text.intermediate_size + HIDDEN_WIDTHS * text.hidden_size)
        + PATCHES_PER_TOKEN * patch * FP32,
        masked=width,
        most=MOST_ROWS.get(weight.device.type, MOST_ROWS["cpu"]),
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on a device, those that torch holds without using them among them."""
    import torch

    if device.type == "cuda":
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    return psutil.virtual_memory().available // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
