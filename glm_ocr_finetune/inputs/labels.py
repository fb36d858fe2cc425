"""Labels: what counts as a transcription, and how it is cleaned before it is trained on."""

from __future__ import annotations

import numbers
import re
from dataclasses import dataclass
from decimal import Decimal

MAX_LABEL_CHARACTERS = 200_000
"""Longer labels are set aside before anything tokenizes them.

Four times what a densely printed broadsheet page holds. A label of ten megabytes, which no image can carry,
would keep the tokenizer busy for minutes.
"""

_PLACEHOLDERS = re.compile(r"~{3,}|#{3,}|\s+")


@dataclass(frozen=True)
class Label:
    """A usable transcription (``reason`` is None), or the reason why there is none (``text`` is None).

    Reasons: ``empty_label`` (missing, empty or white space only), ``invalid_text`` (NUL characters or
    lone surrogates), ``label_not_text`` (a list, a mapping, a truth value), ``label_too_long`` (more than
    ``MAX_LABEL_CHARACTERS``).
    """

    text: str | None = None
    reason: str | None = None


def label_as_found(value: object) -> Label:
    """The label as a string, unchanged but for its type; ``Label()`` when there is none.

    Numbers become strings (0 is a label); how they were written is known to whoever read them, so readers
    of text formats hand on strings. NaN is how tables write a missing value, so it is none.
    A string that cannot be stored as UTF-8 has the reason ``invalid_text``.
    """
    if value is None:
        return Label()
    if isinstance(value, str):
        return Label(text=str(value)) if is_storable(value) else Label(reason="invalid_text")
    if isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool):
        return _number(value)
    return Label(reason="label_not_text")


def clean_label(value: object) -> Label:
    r"""The label as it is measured, trained on and compared with: stripped, ``\r\n`` and ``\r`` made ``\n``.

    The chat template strips messages, so an unstripped label could never be reproduced when serving.
    Line breaks inside the label stay.

    >>> clean_label(0), clean_label("  ")
    (Label(text='0', reason=None), Label(text=None, reason='empty_label'))
    """
    found = label_as_found(value)
    if found.reason is not None:
        return found
    text = (found.text or "").strip()
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        return Label(reason="invalid_text")
    if len(text) > MAX_LABEL_CHARACTERS:
        return Label(reason="label_too_long")
    return Label(text=text) if text else Label(reason="empty_label")


def _number(value: numbers.Real | Decimal) -> Label:
    if value != value:  # NaN alone differs from itself
        return Label()
    try:
        return Label(text=str(value))
    except ValueError:  # an int of more digits than Python prints, 4300
        return Label(reason="label_too_long")


def is_placeholder(text: str) -> bool:
    """Whether a text only marks that something is not transcribed: ``###`` (PaddleOCR), ``~~~ ~~~`` (eScriptorium)."""
    return bool(text.strip()) and not _PLACEHOLDERS.sub("", text)


def is_storable(text: str) -> bool:
    """Whether the string can be written as UTF-8, which lone surrogates cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
