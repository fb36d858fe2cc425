"""When an answer has become a loop: vLLM's rule for repeated ends (``RepetitionDetectionParams``), with our numbers."""

from __future__ import annotations

from collections.abc import Sequence

MAX_PATTERN = 128
"""Tokens of the longest unit that is looked for: a long line, or a row of a table."""

MIN_COUNT = 32
"""Copies of the unit at the end. Tables with so many equal rows and rules of so many dashes are rare; loops pass it."""

EVERY = 16
"""Tokens after which an answer is looked at again."""


def is_loop(ids: Sequence[int]) -> bool:
    """Whether an answer ends in ``MIN_COUNT`` copies of one unit of at most ``MAX_PATTERN`` tokens."""
    for length in range(1, min(MAX_PATTERN, len(ids) // MIN_COUNT) + 1):
        if all(ids[-1 - i] == ids[-1 - i - length] for i in range(length * (MIN_COUNT - 1))):
            return True
    return False


def without_copies(ids: Sequence[int]) -> list[int]:
    """An answer that ends in a loop with one copy of its unit; any other as it is."""
    for length in range(1, min(MAX_PATTERN, len(ids) // MIN_COUNT) + 1):
        if all(ids[-1 - i] == ids[-1 - i - length] for i in range(length * (MIN_COUNT - 1))):
            end = len(ids)
            while end > 2 * length - 1 and ids[end - 1] == ids[end - 1 - length]:
                end -= 1
            return list(ids[:end])
    return list(ids)
