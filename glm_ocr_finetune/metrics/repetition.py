"""Whether a prediction ends in a loop: the usual way in which a small reading model fails to stop."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import regex

from .normalisation import normalise_text

MAX_UNIT_LENGTH = 200
MIN_COPIES = 4
MIN_EXCESS = 20
MIN_EXCESS_COPIES = 2
_TAG = regex.compile(r"^[^<>]*>|<[^<>]*>|<[^<>]*$")
_LETTERS = regex.compile(r"[\p{L}\p{M}]")
_WORD = regex.compile(r"[\p{L}\p{M}]{2}")


def ends_in_loop(prediction: str, truth: str = "") -> bool:
    """Tell whether the prediction ends in one unit repeated, more often than the truth has it.

    The unit is at most ``MAX_UNIT_LENGTH`` (200) long, there are at least ``MIN_COPIES`` (4) of it in full, and the
    last one may be cut anywhere. Lengths are in code points. Beside that, one of two rules must hold:

    - anything: the whole periodic tail is at least ``MIN_EXCESS`` (20) longer than the longest end of it that occurs
      in the truth, in the raw texts, with or without trailing white space;
    - words ("der der der der"): the unit holds two letters (or letter and vowel sign) in a row, tags aside, and the tail is more than
      ``MIN_EXCESS_COPIES`` (2) units longer than the longest end of it in the truth, in the texts in NFC, with
      white space collapsed and one space before them.

    So neither the leaders of a table of contents (``.......``), nor rules (``------``), figures (``0 0 0 0``) or the
    empty cells of a table are a loop below 20 code points too many, and a "ha ha" that becomes a "ha ha ha" is none.

    Loops whose copies differ (a counter that runs on) are not found. Time is linear in the length of the texts: each
    unit length is refused by one comparison, and only a found loop is measured.

    The idea follows olmOCR-bench's baseline test (no repeated tail); the numbers are this project's.
    """
    if any(_repeats_characters(text, truth) for text in {prediction, prediction.rstrip()}):
        return True
    return _repeats_words(*(" " + normalise_text(text, "nfc") for text in (prediction, truth)))


def _repeats_characters(text: str, truth: str) -> bool:
    return any(_excess(text, length, truth) >= MIN_EXCESS for length in _repeated_lengths(text))


def _repeats_words(text: str, truth: str) -> bool:
    lengths = (length for length in _repeated_lengths(text) if _holds_a_word(text[-length:]))
    return any(_excess(text, length, truth) > MIN_EXCESS_COPIES * length for length in lengths)


def _repeated_lengths(text: str) -> Iterator[int]:
    """Lengths of the units of which ``text`` ends in copies and which are no copies themselves, the shortest first."""
    for length in range(1, min(MAX_UNIT_LENGTH, len(text) // MIN_COPIES) + 1):
        unit = text[-length:]
        if text.endswith(unit * MIN_COPIES) and unit not in (unit + unit)[1:-1]:
            yield length


def _holds_a_word(unit: str) -> bool:
    """Whether two of its letters stand in a row, tags aside; a unit may begin anywhere, inside a word or a tag too."""
    several = len(_LETTERS.findall(_TAG.sub(" ", unit))) > 1
    return several and _WORD.search(_TAG.sub(" ", unit + unit)) is not None


def _excess(text: str, length: int, truth: str) -> int:
    """How much longer the periodic tail is than the longest end of it that occurs in the truth."""
    tail = _periodic_tail_length(text, length)
    return tail - _longest_end_in(text[-tail:], truth)


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
