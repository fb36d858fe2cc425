"""Which rows fit, and how long they are: arithmetic on what was measured, no image is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..inputs.images import ImageError
from ..inputs.processor import PixelBudget
from ..vision.pixels import TooLong, fit_image
from .measure import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SetAside:
    """A row that is not trained on, where it came from, and why."""

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Survey:
    """Rows under a pixel budget and a longest sequence.

    Attributes:
        kept: row numbers that are used, int64, ascending.
        num_tokens: sequence length of each kept row, after shrinking, int32.
        num_image_tokens: how many of them are image tokens, int32.
        num_shrunk: how many images are shrunk to fit ``max_length``.
        longest_unshrunk: tokens of the longest sequence, had no image been shrunk.
        rejected: row number -> (reason, detail) of the other rows.
    """

    kept: NDArray[np.int64]
    num_tokens: NDArray[np.int32]
    num_image_tokens: NDArray[np.int32]
    num_shrunk: int
    longest_unshrunk: int
    rejected: dict[int, tuple[str, str]]


def survey(measured: Measured, budget: PixelBudget, max_length: int | None) -> Survey:
    """Fit every row that was measured; images are shrunk where a sequence is too long, labels are never cut."""
    kept, tokens, image_tokens, num_shrunk, longest = [], [], [], 0, 0
    rejected = dict(measured.rejected)
    sizes = zip(measured.heights.tolist(), measured.widths.tolist(), measured.text_tokens.tolist(), strict=True)
    for row, (height, width, text) in enumerate(sizes):
        if row in rejected:
            continue
        try:
            full = budget.num_image_tokens(height, width)
            fitted = fit_image(height, width, budget, text, max_length).num_image_tokens(height, width)
        except ImageError as error:
            rejected[row] = (error.reason, str(error))
            continue
        except TooLong as error:
            rejected[row] = ("too_long", str(error))
            continue
        kept.append(row)
        tokens.append(text + fitted)
        image_tokens.append(fitted)
        num_shrunk += fitted < full
        longest = max(longest, text + full)
    return Survey(
        kept=np.array(kept, dtype=np.int64),
        num_tokens=np.array(tokens, np.int32),
        num_image_tokens=np.array(image_tokens, np.int32),
        num_shrunk=num_shrunk,
        longest_unshrunk=longest,
        rejected=rejected,
    )
