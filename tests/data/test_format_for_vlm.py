"""Rows as TRL takes them: the label that is trained is the one that readers measure."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from glm_ocr_finetune import format_for_vlm
from glm_ocr_finetune.errors import UserError


def answer(label: Any) -> Any:
    return format_for_vlm({"image": Image.new("L", (9, 9)), "text": label})["completion"][0]["content"][0]["text"]


@pytest.mark.parametrize(("label", "text"), [(" a\r\nb \n", "a\nb"), (0, "0"), ("0", "0"), (1.5, "1.5")])
def test_labels_are_cleaned(label: Any, text: str) -> None:
    assert answer(label) == text


@pytest.mark.parametrize("label", [" \n", ["a"], True, "\ud800", "x" * 300_000, float("nan")])
def test_what_is_no_label_is_one_line(label: Any) -> None:
    with pytest.raises(UserError, match="is no transcription") as error:
        answer(label)
    assert "\n" not in str(error.value)
