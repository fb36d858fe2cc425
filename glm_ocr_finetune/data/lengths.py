"""One pixel budget for training and serving: what makes the samples of a run fit its longest sequence.

An image is never shrunk for itself: it would be trained at one size and served at another. Where sequences are too
long the budget is lowered for the run as a whole, and the lowered one is saved with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..args import DEFAULT_LENGTH
from ..inputs.geometry import PIXELS_PER_TOKEN
from ..inputs.images import ImageError
from ..inputs.processor import PixelBudget

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHRINK_FLOOR = 0.25  # the budget falls to no less than this share of the tokens of those images that are too large
FEW = 0.01  # share of the samples that may be set aside so that the images of all others keep more than twice as much


@dataclass(frozen=True)
class Shapes:
    """N samples that could be used: heights and widths of their images in pixels, tokens of their texts; (N,) int."""

    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    text_tokens: NDArray[np.int32]

    def image_tokens(self, budget: PixelBudget) -> NDArray[np.int32]:
        """(N,) tokens of each image under a budget; 0 for one that is too thin to be resized at all."""
        sizes, which = np.unique(np.stack([self.heights, self.widths]), axis=1, return_inverse=True)
        tokens = [_tokens_or_zero(budget, *size) for size in sizes.T.tolist()]
        return np.array(tokens, np.int32)[which.reshape(-1)]

    @classmethod
    def joined(cls, parts: Sequence[Shapes]) -> Shapes:
        """The samples of several splits."""
        names = ("heights", "widths", "text_tokens")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Fitted:
    """Samples under one budget and one longest sequence.

    Attributes:
        budget: to train, to save and to serve with.
        whole: the budget that was asked for.
        max_length: longest sequence in tokens; None is any.
        tokens: (N,) sequence length of each sample under the budget.
        image_tokens: (N,) how many of them are image tokens; 0 where the image is too thin.
        too_long: (N,) bool, samples that do not fit and are set aside.
        needed: tokens of the longest sequence under the whole budget.
        num_lowered: images that the lowered budget makes smaller.
    """

    budget: PixelBudget
    whole: PixelBudget
    max_length: int | None
    tokens: NDArray[np.int32]
    image_tokens: NDArray[np.int32]
    too_long: NDArray[np.bool_]
    needed: int
    num_lowered: int

    def explained(self, given: bool) -> str | None:
        """What was settled and why, in one line; None where nothing had to be.

        Args:
            given: whether the user gave the longest sequence.
        """
        if self.budget != self.whole:
            largest = int(self.image_tokens.max(initial=0))
            why = "" if given else f"max_length = {self.max_length} (the memory of the device holds no more); "
            return (
                f"{why}max_pixels = {self.budget.max_pixels} instead of {self.whole.max_pixels}, in training and in "
                f"what is saved, so that samples fit --max_length {self.max_length}: {self.num_lowered} images become "
                f"smaller, none has more than {largest} tokens; --max_length {self.needed} keeps them whole"
            )
        if not given and self.max_length is not None and self.max_length > DEFAULT_LENGTH:
            return f"max_length = {self.max_length} (what the longest of {len(self.tokens)} samples needs)"
        return None


def fit(shapes: Shapes, budget: PixelBudget, max_length: int | None, may_lower: bool = True) -> Fitted:
    """Lower the budget as far as the samples need it to keep ``max_length``; a label is never cut.

    Args:
        may_lower: False where the user gave the budget; then samples are set aside instead.
    """
    whole = shapes.image_tokens(budget)
    room = (max_length or 0) - shapes.text_tokens
    most = most_image_tokens(whole, room) if may_lower and max_length else None
    lowered, tokens = budget, whole
    if most is not None:
        pixels = most * PIXELS_PER_TOKEN
        lowered = PixelBudget(min(budget.min_pixels, pixels // 2), min(budget.max_pixels, pixels))
        tokens = shapes.image_tokens(lowered)
    return Fitted(
        budget=lowered,
        whole=budget,
        max_length=max_length,
        tokens=tokens + shapes.text_tokens,
        image_tokens=tokens,
        too_long=tokens > room if max_length else np.zeros(len(tokens), bool),
        needed=int((whole + shapes.text_tokens).max(initial=0)),
        num_lowered=int((tokens < whole).sum()),
    )


def most_image_tokens(whole: NDArray[np.int32], room: NDArray[np.int32]) -> int | None:
    """Tokens of the largest image after which all samples fit but for a few; None where nothing needs to give way.

    Args:
        whole: (N,) image tokens of each sample as they are.
        room: (N,) image tokens that each sample has room for beside its text.
    """
    needy = whole > room
    if not needy.any():
        return None
    floor = max(1.0, SHRINK_FLOOR * float(np.median(whole[needy])))
    rooms = np.sort(room[needy & (room >= floor)])
    if not len(rooms):
        return None
    few = min(int(FEW * len(whole)), len(rooms) - 1)
    return int(rooms[2 * rooms >= rooms[few]].min())


def settle(shapes: Shapes, budget: PixelBudget, fits: Callable[[Fitted], bool], may_lower: bool = True) -> Fitted:
    """The longest sequence that nobody gave: ``DEFAULT_LENGTH``, or what the data needs and the memory holds.

    Where the memory does not even hold what keeps all but a few samples, it is that all the same: fewer samples are
    worse than a run that has to be made smaller in other ways.

    Args:
        fits: whether a run on such samples fits the memory of the device; asked only beyond ``DEFAULT_LENGTH``.
        may_lower: False where the user gave the budget; then the data has what it needs.
    """
    needed = fit(shapes, budget, None).needed
    whole = fit(shapes, budget, max(needed, DEFAULT_LENGTH))
    if needed <= DEFAULT_LENGTH or not may_lower or fits(whole):
        return whole
    few = int(FEW * len(whole.tokens))
    least = _bisect(lambda length: fit(shapes, budget, length).too_long.sum() > few, DEFAULT_LENGTH, needed)[1]
    low, _ = _bisect(lambda length: fits(fit(shapes, budget, length)), least, needed)
    return fit(shapes, budget, low)


def _bisect(holds: Callable[[int], bool], low: int, high: int) -> tuple[int, int]:
    """Neighbouring lengths between which ``holds`` ends: it does for the first, if for any, and not for the second."""
    if not holds(low):
        return low, low
    while high - low > max(1, low // 64):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def _tokens_or_zero(budget: PixelBudget, height: int, width: int) -> int:
    try:
        return budget.num_image_tokens(height, width)
    except ImageError:
        return 0
