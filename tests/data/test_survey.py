"""What is known of rows before an image is decoded: lengths that the batches keep to, and reasons for what is not used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawing import draw_line

from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.measure import Measured, measure
from glm_ocr_finetune.data.samples import format_for_vlm
from glm_ocr_finetune.data.survey import survey
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.readers import load_rows

PROMPT = "Text Recognition:"


@pytest.fixture
def rows(tmp_path: Path) -> Any:
    """Four usable rows, the third with an image of many tokens and the fourth the same image as the first; two bad."""
    sizes = {"a.png": (140, 56), "b.png": (280, 56), "c.png": (1120, 1120)}
    for name, size in sizes.items():
        draw_line(name, size).save(tmp_path / name)
    (tmp_path / "empty.png").write_bytes(b"")
    texts = [
        ("a.png", "one"),
        ("b.png", "two"),
        ("c.png", "three"),
        ("a.png", "again"),
        ("empty.png", "x"),
        ("a.png", " "),
    ]
    lines = "".join(json.dumps({"image": image, "text": text}) + "\n" for image, text in texts)
    (tmp_path / "train.jsonl").write_text(lines, encoding="utf-8")
    return load_rows(str(tmp_path), split="train")


def measured(rows: Any, processor: Any) -> Measured:
    return measure(rows, PromptRenderer(processor), PROMPT)


def test_lengths_are_those_of_the_batches(rows: Any, processor: Any) -> None:
    seen = survey(measured(rows, processor), PixelBudget.of(processor), None)
    assert seen.kept.tolist() == [0, 1, 2, 3]
    collator = VLMDataCollator(PromptRenderer(processor))
    for index, tokens, image_tokens in zip(seen.kept, seen.num_tokens, seen.num_image_tokens, strict=True):
        encoded, pixels = collator.encode(format_for_vlm(rows[int(index)]))
        assert (len(encoded.input_ids), pixels.num_tokens) == (tokens, image_tokens)


def test_what_is_set_aside_says_where_and_why(rows: Any, processor: Any) -> None:
    budget, facts = PixelBudget.of(processor), measured(rows, processor)
    aside = survey(facts, budget, None).rejected
    assert {row: reason for row, (reason, _) in aside.items()} == {4: "empty_file", 5: "empty_label"}
    too_long = survey(facts, budget, 60).rejected
    assert [row for row, (reason, _) in too_long.items() if reason == "too_long"] == [2]


def test_keys_tell_equal_images(rows: Any, processor: Any) -> None:
    facts = measured(rows, processor)
    assert facts.key(0) == facts.key(3)
    assert len({facts.key(row) for row in range(4)}) == 3
