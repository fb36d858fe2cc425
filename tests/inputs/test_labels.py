"""Labels: what counts as one and how it is cleaned."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from glm_ocr_finetune.inputs.labels import MAX_LABEL_CHARACTERS, Label, clean_label, is_placeholder, label_as_found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (3.5, "3.5"),
        ("0", "0"),
        (np.int64(7), "7"),
        (Decimal("1.50"), "1.50"),
        (10**400, "1" + "0" * 400),
        ("x" + "\n" * 3000, "x"),
        ("  amber \n", "amber"),
        ("a\r\nb\rc\n\nd", "a\nb\nc\n\nd"),
        ("\u17a2\u200b\u0301 😀", "\u17a2\u200b\u0301 😀"),
    ],
)
def test_labels(value: object, text: str) -> None:
    assert clean_label(value) == Label(text=text)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty_label"),
        ("", "empty_label"),
        (" \t\r\n\u3000", "empty_label"),
        (float("nan"), "empty_label"),
        (Decimal("NaN"), "empty_label"),
        (np.float32("nan"), "empty_label"),
        ("a\0b", "invalid_text"),
        ("a\ud800b", "invalid_text"),
        (["a"], "label_not_text"),
        ({"a": 1}, "label_not_text"),
        (True, "label_not_text"),
        (b"a", "label_not_text"),
    ],
)
def test_no_labels(value: object, reason: str) -> None:
    assert clean_label(value) == Label(reason=reason)


def test_as_found_is_not_stripped() -> None:
    assert label_as_found(" a\r\n") == Label(text=" a\r\n")
    assert label_as_found(None) == Label()


def test_numbers_too_long_to_print() -> None:
    assert clean_label(10**5000) == Label(reason="label_too_long")


def test_longest_label() -> None:
    longest = "x" * MAX_LABEL_CHARACTERS
    assert clean_label(longest) == Label(text=longest)
    assert clean_label(longest + "x") == Label(reason="label_too_long")


@pytest.mark.parametrize("text", ["###", "~~~", "~~~ ~~~~\n###", "  ####  ", "~~~###", "~" * 100_000])
def test_what_only_marks_that_something_is_not_transcribed(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize(
    "text", ["", "  ", "##", "# # #", "~~~ a", "a ###", "~" * 100_000 + "a", "~~~ " * 30_000 + "a"]
)
def test_a_text_with_anything_else_is_a_label_at_once(text: str) -> None:
    """The long ones took the first expression for it longer than anybody waits; found by fuzzing."""
    assert not is_placeholder(text)
