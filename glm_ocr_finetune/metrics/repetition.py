"""Whether a prediction ends in a loop: the usual way in which a small reading model fails to stop."""

from __future__ import annotations

from bisect import bisect_left

MAX_UNIT_LENGTH = 200
MIN_COPIES = 4
MIN_EXCESS = 20


def ends_in_loop(prediction: str, truth: str = "") -> bool:
    """Tell whether the prediction ends in one unit repeated, more often than the truth has it.

    All three must hold, counted in code points of the raw texts, with or without trailing white space:

    - the tail is periodic: one unit of at most ``MAX_UNIT_LENGTH`` (200), at least ``MIN_COPIES`` (4) copies in full;
      the last copy may be cut anywhere;
    - the whole periodic tail is at least ``MIN_EXCESS`` (20) long;
    - it is at least ``MIN_EXCESS`` longer than the longest end of it that occurs in the truth, so that the leaders of
      a table of contents (``.......``) or the empty cells of a table are not called a loop.

    Loops whose copies differ (a counter that runs on) are not found. Time is linear in the length of the texts: each
    unit length is refused by one comparison, and only a found loop is measured.

    The idea follows olmOCR-bench's baseline test (no repeated tail); the numbers are this project's.
    """
    return any(_tail_loops(text, truth) for text in {prediction, prediction.rstrip()})


def _tail_loops(text: str, truth: str) -> bool:
    for unit_length in range(1, min(MAX_UNIT_LENGTH, len(text) // MIN_COPIES) + 1):
        if not text.endswith(text[-unit_length:] * MIN_COPIES):
            continue
        tail = _periodic_tail_length(text, unit_length)
        if tail >= MIN_EXCESS:
            return tail - _longest_end_in(text[-tail:], truth) >= MIN_EXCESS
    return False


def _periodic_tail_length(text: str, period: int) -> int:
    """Return the length of the longest suffix in which every character equals the one ``period`` before it."""
    position = len(text) - period - 1
    while position >= 0 and text[position] == text[position + period]:
        position -= 1
    return len(text) - position - 1


def _longest_end_in(tail: str, truth: str) -> int:
    """Return the length of the longest suffix of ``tail`` that occurs in ``truth``."""
    lengths = range(1, min(len(tail), len(truth)) + 1)
    return bisect_left(lengths, True, key=lambda length: tail[-length:] not in truth)
