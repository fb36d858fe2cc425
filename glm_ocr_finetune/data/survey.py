"""Which rows fit, and how long they are: arithmetic on what was measured, no image is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..inputs.images import ImageError
from ..inputs.processor import PixelBudget
from .lengths import Shapes
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
        num_tokens: sequence length of each kept row, int32.
        num_image_tokens: how many of them are image tokens, int32.
        rejected: row number -> (reason, detail) of the other rows.
    """

    kept: NDArray[np.int64]
    num_tokens: NDArray[np.int32]
    num_image_tokens: NDArray[np.int32]
    rejected: dict[int, tuple[str, str]]


def usable(measured: Measured) -> NDArray[np.int64]:
    """Numbers of the rows that could be measured, ascending."""
    rejected = np.fromiter(measured.rejected, np.int64, len(measured.rejected))
    return np.setdiff1d(np.arange(len(measured.heights)), rejected)


def shapes_of(measured: Measured) -> Shapes:
    """What is known of the usable rows."""
    rows = usable(measured)
    return Shapes(measured.heights[rows], measured.widths[rows], measured.text_tokens[rows])


def survey(measured: Measured, budget: PixelBudget, max_length: int | None) -> Survey:
    """Count the tokens of every usable row; one that is too long is set aside, nothing is cut."""
    rows, shapes = usable(measured), shapes_of(measured)
    image_tokens = shapes.image_tokens(budget)
    tokens = image_tokens + shapes.text_tokens
    fits = (image_tokens > 0) & (tokens <= max_length if max_length else True)
    rejected = dict(measured.rejected)
    for row in rows[~fits].tolist():
        shape = (int(measured.heights[row]), int(measured.widths[row]), int(measured.text_tokens[row]))
        rejected[row] = why_not(*shape, budget, max_length) or ("too_long", "")
    return Survey(rows[fits], tokens[fits], image_tokens[fits], rejected)


def why_not(
    height: int, width: int, text_tokens: int, budget: PixelBudget, max_length: int | None
) -> tuple[str, str] | None:
    """Why a sample cannot be used: its image cannot be resized, or it is too long; None when it can."""
    try:
        image_tokens = budget.num_image_tokens(height, width)
    except ImageError as error:
        return error.reason, str(error)
    if max_length is None or text_tokens + image_tokens <= max_length:
        return None
    return "too_long", f"{text_tokens} tokens of text and {image_tokens} of image exceed --max_length {max_length}"
