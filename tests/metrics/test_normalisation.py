from __future__ import annotations

import pytest

from glm_ocr_finetune import args
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.metrics import CER_UNITS, TEXT_NORMALISATIONS, ScoringSettings, normalise_text, score, split_units
from glm_ocr_finetune.metrics.reading import Reading

TEXT = " Don’t  Stop:\n\tCAFE\u0301, Straße! "


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        ("none", TEXT),
        ("nfc", "Don’t Stop: CAFÉ, Straße!"),
        ("nfc_case", "don’t stop: café, strasse!"),
        ("nfc_case_punct", "dont stop café strasse"),
    ],
)
def test_each_value_does_more_than_the_one_before(normalisation: str, expected: str) -> None:
    assert normalise_text(TEXT, normalisation) == expected


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("ខ្មែរ", ["ខ្មែ", "រ"]),  # Khmer: base, coeng, subscript and vowel are one cluster
        ("कि", ["कि"]),  # Devanagari: the vowel sign is written before, stored behind
        ("نَّ", ["نَّ"]),  # Arabic: shadda and fatha on one letter
        ("e\u0301a", ["e\u0301", "a"]),
        ("👩\u200d👧", ["👩\u200d👧"]),
        ("a\r\nb", ["a", "\r\n", "b"]),
        ("", []),
    ],
)
def test_graphemes(text: str, clusters: list[str]) -> None:
    assert split_units(text, "grapheme") == clusters
    assert split_units(text, "codepoint") == list(text)


@pytest.mark.parametrize(
    ("truth", "prediction", "grapheme", "codepoint"),
    [
        ("ខ្មែរ", "ខ្មរ", 1 / 2, 1 / 5),
        ("हिन्दी", "हन्दी", 1 / 2, 1 / 6),
        ("بَيْت", "بيت", 2 / 3, 2 / 5),
    ],
)
def test_unit_moves_the_rate(truth: str, prediction: str, grapheme: float, codepoint: float) -> None:
    for unit, expected in (("grapheme", grapheme), ("codepoint", codepoint)):
        scores = score([Reading("1", truth, prediction)], ScoringSettings("nfc", unit))
        assert scores.values["corpus_cer"] == pytest.approx(expected)


def test_line_break_equals_space_unless_text_is_left_as_it_is() -> None:
    reading = Reading("1", "one\ntwo", "one two ")
    assert score([reading]).values["exact_match"] == 1
    assert score([reading], ScoringSettings("none")).values["exact_match"] == 0


def test_settings_print_as_text() -> None:
    assert str(ScoringSettings()) == "characters are grapheme clusters; NFC, white space collapsed"


def test_unknown_values_name_the_flag() -> None:
    with pytest.raises(UserError, match=r"--text_normalisation 'nfkc' is not known; expected one of: none, nfc"):
        ScoringSettings("nfkc")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--cer_unit 'byte' is not known; expected one of: grapheme, codepoint"):
        ScoringSettings(cer_unit="byte")  # type: ignore[arg-type]


def test_the_flags_offer_exactly_these_values() -> None:
    assert args.NORMALISATIONS == TEXT_NORMALISATIONS
    assert args.CER_UNITS == CER_UNITS
