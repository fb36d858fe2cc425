"""Rows to samples: TRL's form, an automatic split without leaks, replay, and the list of what was set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import WORDS, write_lines

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.samples import format_for_vlm, sample_of
from glm_ocr_finetune.data.splits import default_split, load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer


def load(processor: Any, folder: Path, **given: Any) -> Any:
    return load_splits(DataArguments(str(folder), **given), PromptRenderer(processor), 2048, seed=3)


def texts(samples: Any) -> list[str]:
    return [sample_of(row).text for row in samples]


@pytest.mark.parametrize("column", ["label", "text", "ground_truth"])
def test_a_row_in_trl_s_form(column: str) -> None:
    row = format_for_vlm({"image": "a.png", column: 0, "prompt": None, "source": "x:1"}, "Read:")
    sample = sample_of(row)
    assert (sample.image, sample.prompt, sample.text, sample.source) == ("a.png", "Read:", "0", "x:1")
    assert (sample.size, sample.key) == (None, None)
    assert [turn["role"] for turn in (*row["prompt"], *row["completion"])] == ["user", "assistant"]


def test_a_row_without_an_image_or_a_text_is_refused() -> None:
    with pytest.raises(UserError, match="a sample needs 'image' and one of"):
        format_for_vlm({"image": "a.png", "remark": "x"})
    with pytest.raises(UserError, match="found: text"):
        format_for_vlm({"text": "x"})


def test_held_out_samples_are_the_same_for_a_seed_and_none_is_lost(processor: Any, line_folder: Path) -> None:
    first, second = (load(processor, line_folder, eval_split_size=0.25) for _ in range(2))
    assert texts(first.evaluation) == texts(second.evaluation)
    assert sorted(texts(first.train) + texts(first.evaluation)) == sorted(WORDS)
    assert (len(first.train_tokens), len(first.evaluation_tokens)) == (9, 3)


def test_an_evaluation_of_no_group_is_said(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "train", WORDS[:8])
    file = tmp_path / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for writers, told in ((["a"] * 3 + ["b"] * 3 + [None] * 2, True), (["a", "b", "c", "d"] * 2, False)):
        texts = [json.dumps(row | {"writer": writer}) for row, writer in zip(rows, writers, strict=True)]
        file.write_text("\n".join(texts))
        splits = load(processor, tmp_path, group_column="writer", eval_split_size=0.25)
        assert (splits.groups[1] == 0) is told
        note = "nothing of the 2 groups is evaluated on: only rows without a group are"
        assert (note in splits.notes) is told


def test_the_test_split_is_read_first_and_an_eval_split_is_used(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "train", WORDS[:6])
    write_lines(tmp_path, "test", WORDS[6:9])
    assert default_split(str(tmp_path)) == "test"
    splits = load(processor, tmp_path, eval_split="test")
    assert (texts(splits.train), texts(splits.evaluation)) == (list(WORDS[:6]), list(WORDS[6:9]))


def test_a_split_that_is_neither_trained_nor_evaluated_on_is_named(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "train", WORDS[:6])
    write_lines(tmp_path, "test", WORDS[6:9])
    assert load(processor, tmp_path).notes == [
        "the data set also has the split test; to evaluate on it: --eval_split test"
    ]
    assert load(processor, tmp_path, eval_split="test").notes == []
    assert load(processor, tmp_path / "train.jsonl").notes == []


def test_replay_mixes_other_data_in_by_its_share(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path / "own", "train", WORDS[:8])
    write_lines(tmp_path / "other", "train", WORDS[8:])
    splits = load(
        processor, tmp_path / "own", eval_split_size=0, replay_dataset=str(tmp_path / "other"), replay_ratio=0.5
    )
    found = texts(splits.train)
    assert len(found) == len(splits.train_tokens) == 12
    assert set(found[:8]) == set(WORDS[:8])
    assert set(found[8:]) == set(WORDS[8:])
    assert np.array_equal(splits.train_image_tokens > 0, np.ones(12, bool))


def test_rows_set_aside_are_listed_with_their_source(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "train", WORDS[:4], labels=["a", " ", "c", "d"])
    splits = load(processor, tmp_path, eval_split_size=0)
    assert splits.set_aside_by_reason() == {"empty_label": 1}
    file = splits.write_set_aside(tmp_path)
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == [
        {
            "source": "train.jsonl:2",
            "reason": "empty_label",
            "detail": "the label is missing, empty or white space only",
        }
    ]


def test_nothing_set_aside_writes_nothing(processor: Any, line_folder: Path, tmp_path: Path) -> None:
    assert load(processor, line_folder).write_set_aside(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
