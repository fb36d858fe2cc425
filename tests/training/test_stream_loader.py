"""What a checkpoint keeps of a stream, and what is listed of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from streamed import BAD, write_parquet

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data import stream as module
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.streaming import load_streamed
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.training.stream_loader import StreamLoader, state_file

USABLE = 36 - len(BAD)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)
    (tmp_path / "out").mkdir()
    return write_parquet(tmp_path / "data", 36)


def loader(processor: Any, data: Path, **given: Any) -> StreamLoader:
    settings = {"max_steps": 9, "max_length": 200, "report_to": "none", "per_device_train_batch_size": 2}
    output = data.parent / "out"
    args = TrainingArguments(str(output), **settings | {"gradient_accumulation_steps": 2} | given)
    renderer = PromptRenderer(processor)
    splits = load_streamed(DataArguments(str(data), eval_split_size=0), renderer, args, 0, evaluate=False)
    return StreamLoader(splits.stream, VLMDataCollator(renderer, 200), args)


def taken(batches: Any, one: StreamLoader, count: int) -> list[str]:
    found: list[str] = []
    for _ in range(count):
        next(batches)
        found += one.recent[-1]
    return found


def test_a_loader_goes_on_where_another_stood_also_in_a_later_pass(processor: Any, data: Path) -> None:
    first = loader(processor, data)
    batches = iter(first)
    before = taken(batches, first, 20)
    assert len(set(before[:USABLE])) == USABLE
    assert first.number == 1
    first.save(data.parent)
    expected = taken(batches, first, 25)
    second = loader(processor, data)
    second.load(data.parent)
    assert taken(iter(second), second, 25) == expected
    assert (second.number, second.samples) == (first.number, first.samples)


def test_other_readers_begin_the_next_pass_and_say_so(
    processor: Any, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = loader(processor, data)
    taken(iter(first), first, 3)
    first.save(data.parent)
    second = loader(processor, data, dataloader_num_workers=2)
    with caplog.at_level(logging.WARNING, "glm_ocr_finetune"):
        second.load(data.parent)
    assert "goes on with the next pass over the data" in caplog.text
    assert (second.number, second.positions) == (1, [None, None])


@pytest.mark.parametrize("text", ["", "{", '{"ranks": 1}', None])
def test_a_checkpoint_that_does_not_tell_is_one_line(processor: Any, data: Path, text: str | None) -> None:
    if text is not None:
        state_file(data.parent, 0).write_text(text)
    with pytest.raises(UserError, match="does not tell how far the stream was read") as error:
        loader(processor, data).load(data.parent)
    assert "\n" not in str(error.value)


def test_a_row_is_listed_once_over_passes_and_sittings(
    processor: Any, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = loader(processor, data)
    batches = iter(first)
    taken(batches, first, 5)
    first.save(data.parent)
    taken(batches, first, 35)  # killed in its third pass
    second = loader(processor, data)
    second.load(data.parent)
    taken(iter(second), second, 40)
    listed = [json.loads(line) for line in second.listed.file.read_text().splitlines()]
    assert {row["source"]: row["reason"] for row in listed} == {f"train:{row}": why for row, why in BAD.items()}
    assert len(listed) == len(BAD)
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        second.conclude()
    assert "set aside: 1 " in caplog.text


def test_passes_are_counted_where_rows_are(processor: Any, data: Path) -> None:
    one = loader(processor, data)
    batches = iter(one)
    taken(batches, one, 9)
    assert one.passes == 18 / 36
    taken(batches, one, 9)
    assert one.passes == 1 + 2 / 36


def test_a_pass_without_samples_is_one_line(processor: Any, data: Path) -> None:
    one = loader(processor, data)
    object.__setattr__(one.stream, "max_length", 3)
    with pytest.raises(UserError, match=f"no sample that can be used: {USABLE + 1} too_long"):
        next(iter(one))
