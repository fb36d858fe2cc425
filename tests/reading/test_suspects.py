"""Suspect labels: a planted wrong one comes first, and the doubt points at the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import write_lines

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import IGNORED, PromptRenderer
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.reading.samples import read_samples
from glm_ocr_finetune.reading.suspects import find_suspects, worst_tokens, write_suspects

TEXTS = ["grove knoll 12", "amber larch 77", "haven inlet 345"]
LABELS = ["grove knoll 12", "amber lXrch 77", "haven inlet"]


@pytest.fixture(scope="module")
def reader() -> tuple[Any, PromptRenderer]:
    model, processor, prompt_format = load_for_reading("tiny", device_map="cpu")
    return model, PromptRenderer(processor, prompt_format)


def test_wrong_labels_come_first_and_the_doubt_says_where(reader: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "lines", TEXTS, LABELS)
    splits = load_splits(DataArguments(str(tmp_path)), reader[1], None, 0, evaluate=False)
    readings = read_samples(*reader, splits.train, splits.train_tokens.tolist(), progress=False)
    suspects = find_suspects(*reader, splits.train, readings, batch_size=2)
    assert {one.text for one in suspects[:2]} == {"amber lXrch 77", "haven inlet"}
    by_text = {one.text: one for one in suspects}
    assert (by_text["amber lXrch 77"].doubted, by_text["amber lXrch 77"].at) == ("X", 7)
    assert by_text["haven inlet"].doubted == "<|user|>"  # the label ends too soon
    assert [one.score for one in suspects] == sorted(one.score for one in suspects)
    rows = write_suspects(suspects, tmp_path).read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["id"] for row in rows] == [one.id for one in suspects]


def test_the_score_is_the_smallest_probability_of_the_whole_head(reader: Any, tmp_path: Path) -> None:
    model, renderer = reader
    write_lines(tmp_path, "lines", TEXTS)
    splits = load_splits(DataArguments(str(tmp_path)), renderer, None, 0, evaluate=False)
    batch = VLMDataCollator(renderer)([splits.train[i] for i in range(3)])
    with torch.no_grad():
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        chances = model(**inputs).logits.float().softmax(-1)
    for row, (labels, (score, tokens, worst)) in enumerate(
        zip(batch["labels"], worst_tokens(model, batch), strict=True)
    ):
        positions = (labels != IGNORED).nonzero().flatten()
        expected = chances[row, positions - 1, labels[positions]]
        assert score == pytest.approx(float(expected.min()), rel=1e-4)
        assert (worst, tokens) == (int(expected.argmin()), labels[positions].tolist())
