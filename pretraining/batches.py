"""Batches of rendered lines of one width."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from render import SEEN_FONTS, Line, TextStyle, fit_height, render_line, sample_text
from torch import Tensor


@dataclass(frozen=True)
class LineBatch:
    """Images (batch, 56, width) uint8, their texts and the centres of their letters in pixels."""

    images: Tensor
    texts: list[str]
    centres: list[tuple[float, ...]]

    @property
    def width(self) -> int:
        return self.images.shape[2]


def stack_lines(lines: list[Line]) -> LineBatch:
    """A batch of lines of one size."""
    images = torch.from_numpy(np.stack([line.image for line in lines]))
    return LineBatch(images, [line.text for line in lines], [line.centres for line in lines])


def stream_batches(rng: random.Random, style: Callable[[], TextStyle], patches: int) -> Iterator[LineBatch]:
    """Endless batches of about ``patches`` 14 px patches, each of lines of one width, as soon as one is full."""
    waiting: dict[int, list[Line]] = defaultdict(list)
    while True:
        line = fit_height(render_line(rng, sample_text(rng, style()), SEEN_FONTS))
        width = line.image.shape[1]
        waiting[width].append(line)
        if len(waiting[width]) >= max(patches // (4 * width // 14), 1):
            yield stack_lines(waiting.pop(width))
