"""Samples read and written down: in order, each with its truth, bad images as read empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drawing import draw_line

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.samples import sample_of
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.metrics import read_predictions
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.reading.samples import answer_limit, read_samples, reading_of, requests_of, write_predictions

TEXTS = ["grove 12", "knoll 345", "amber larch 7", "x"]


@pytest.fixture(scope="module")
def reader() -> tuple[Any, PromptRenderer]:
    model, processor, prompt_format = load_for_reading("tiny", device_map="cpu")
    return model, PromptRenderer(processor, prompt_format)


@pytest.fixture
def splits(reader: tuple[Any, PromptRenderer], tmp_path: Path) -> Any:
    for index, text in enumerate(TEXTS):
        draw_line(text, (260, 56)).save(tmp_path / f"{index}.png")
    rows = ({"image": f"{index}.png", "text": text} for index, text in enumerate(TEXTS))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_splits(DataArguments(str(tmp_path)), reader[1], None, 0, evaluate=False)


def test_readings_stand_in_the_order_of_the_samples_with_their_truths(reader: Any, splits: Any) -> None:
    readings = read_samples(*reader, splits.train, splits.train_tokens.tolist(), batch_size=3, progress=False)
    assert [reading.truth for reading in readings] == TEXTS
    assert [reading.id for reading in readings] == [f"lines.jsonl:{line}" for line in range(1, 5)]
    assert {reading.source for reading in readings} == {"lines.jsonl"}
    assert readings[0].prediction == "grove 12"  # the tiny model reads Pillow's font
    assert all(reading.stopped for reading in readings[:3])


def test_each_answer_has_the_limit_of_its_own_truth(reader: Any, splits: Any) -> None:
    requests = requests_of(splits.train, splits.train_tokens, reader[1], None)
    assert [one.max_new_tokens for one in requests] == [answer_limit(len(reader[1].answer_ids(text))) for text in TEXTS]
    assert {one.max_new_tokens for one in requests_of(splits.train, splits.train_tokens, reader[1], 7)} == {7}


def test_an_image_that_has_gone_is_scored_as_read_empty(reader: Any, splits: Any, tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    readings = read_samples(*reader, splits.train, splits.train_tokens.tolist(), max_new_tokens=4, progress=False)
    assert (readings[1].prediction, readings[1].stopped, readings[1].num_tokens) == ("", None, None)
    assert readings[2].prediction != ""


def test_what_is_written_is_read_back(splits: Any, tmp_path: Path) -> None:
    readings = [reading_of(sample_of(row)) for row in splits.train]
    write_predictions(readings, tmp_path / "new" / "predictions.jsonl")
    assert list(read_predictions(tmp_path / "new" / "predictions.jsonl").readings) == readings
