"""What two texts must share to count as equal, and what one character is: the two settings behind every figure.

NFC against NFD alone moves a character error rate by points, so the settings are printed beside every figure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import regex

from ..errors import UserError

TextNormalisation = Literal["none", "nfc", "nfc_case", "nfc_case_punct"]
CerUnit = Literal["grapheme", "codepoint"]
TEXT_NORMALISATIONS: tuple[TextNormalisation, ...] = get_args(TextNormalisation)
CER_UNITS: tuple[CerUnit, ...] = get_args(CerUnit)

_DESCRIPTIONS: dict[str, str] = {
    "none": "text as it is",
    "nfc": "NFC, white space collapsed",
    "nfc_case": "NFC, white space collapsed, case folded",
    "nfc_case_punct": "NFC, white space collapsed, case folded, punctuation removed",
    "grapheme": "characters are grapheme clusters",
    "codepoint": "characters are code points",
}
_PUNCTUATION = regex.compile(r"\p{P}+")
_WHITE_SPACE_RUN = regex.compile(r"\s+")
_GRAPHEME_CLUSTER = regex.compile(r"\X")


@dataclass(frozen=True)
class ScoringSettings:
    """How texts are compared: one value of each flag, printed as text beside the figures.

    Attributes:
        text_normalisation: each value does what the one before it does, and more.
            ``none``: texts are compared as they are, line breaks and trailing spaces included.
            ``nfc``: Unicode NFC; each run of white space, line breaks included, becomes one space; ends are stripped.
            So a line break in the truth and a space in the prediction are equal. The zero-width space U+200B,
            which Khmer uses between words, is not white space in Unicode and is kept.
            ``nfc_case``: also Unicode full case folding (so that ``ß`` equals ``ss``).
            ``nfc_case_punct``: also every character of the general categories P* removed (not replaced by a space).
        cer_unit: ``grapheme`` counts extended grapheme clusters (Unicode UAX 29), what a reader calls one character;
            ``codepoint`` counts code points, as most published figures do.
    """

    text_normalisation: TextNormalisation = "nfc"
    cer_unit: CerUnit = "grapheme"

    def __post_init__(self) -> None:
        _check_choice("--text_normalisation", self.text_normalisation, TEXT_NORMALISATIONS)
        _check_choice("--cer_unit", self.cer_unit, CER_UNITS)

    def __str__(self) -> str:
        return f"{_DESCRIPTIONS[self.cer_unit]}; {_DESCRIPTIONS[self.text_normalisation]}"


def _check_choice(flag: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{flag} {value!r} is not known; expected one of: {', '.join(choices)}")


def normalise_text(text: str, normalisation: TextNormalisation) -> str:
    """Bring ``text`` into the form that is compared; see :class:`ScoringSettings` for the four values."""
    if normalisation == "none":
        return text
    return " ".join(fold_text(text, normalisation).split())


def fold_text(text: str, normalisation: TextNormalisation) -> str:
    """Apply the part of the normalisation that leaves white space alone (for text inside table cells).

    NFC comes last as well as first: folding case and removing punctuation can leave a letter before a loose mark.
    """
    if normalisation == "none":
        return text
    text = unicodedata.normalize("NFC", text)
    if normalisation == "nfc":
        return text
    text = text.casefold()
    if normalisation == "nfc_case_punct":
        text = _PUNCTUATION.sub("", text)
    return unicodedata.normalize("NFC", text)


def collapse_white_space(text: str) -> str:
    """Turn each run of white space into one space, without stripping the ends."""
    collapsed: str = _WHITE_SPACE_RUN.sub(" ", text)
    return collapsed


def split_units(text: str, unit: CerUnit) -> list[str]:
    """Cut ``text`` into the characters that are counted; joined, they give ``text`` again.

    >>> split_units("e\\u0301a", "grapheme")
    ['é', 'a']
    """
    if unit == "codepoint" or (text.isascii() and "\r" not in text):
        return list(text)
    clusters: list[str] = _GRAPHEME_CLUSTER.findall(text)
    return clusters


def split_words(text: str) -> list[str]:
    """Cut at white space. Scripts written without spaces give one long word: judge those by characters."""
    return text.split()
