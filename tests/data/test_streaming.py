"""What is settled from the head of a stream, what is held out of it, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamed import BAD, lines, write_parquet, write_shards

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.argument_checks import refuse_with_streaming
from glm_ocr_finetune.data import streaming
from glm_ocr_finetune.data.stream import Reader
from glm_ocr_finetune.data.streaming import load_streamed
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.inputs.prompt import PromptRenderer


def arguments(tmp_path: Path, **given: Any) -> TrainingArguments:
    return TrainingArguments(str(tmp_path / "out"), **{"max_steps": 5, "report_to": "none", "max_length": 200} | given)


def load(renderer: Any, data: Path, training: TrainingArguments, evaluate: bool = True, **given: Any) -> Any:
    return load_streamed(DataArguments(str(data), streaming=True, **given), renderer, training, 0, evaluate)


@pytest.fixture
def renderer(tiny_random: Path) -> PromptRenderer:
    """One of its own: the pixel budget of its processor may be lowered."""
    from glm_ocr_finetune.inputs.processor import load_processor

    return PromptRenderer(load_processor(tiny_random))


def sources(samples: Any) -> list[str]:
    return list(samples.with_format(None)["source"])


def streamed_sources(splits: Any) -> set[str]:
    return {row["source"] for batch in splits.stream.batches(Reader(), 0, 4) for row in batch.rows}


@pytest.mark.parametrize("write", [write_parquet, write_shards])
def test_what_is_evaluated_on_is_never_trained_on_and_nothing_else_is_lost(
    write: Any, renderer: PromptRenderer, tmp_path: Path
) -> None:
    data = write(tmp_path / "data", 40)
    first, second = (load(renderer, data, arguments(tmp_path)) for _ in range(2))
    assert sources(first.evaluation) == sources(second.evaluation)
    held = set(sources(first.evaluation))
    assert len(held) == 4, "a tenth, where the head is all there is"
    assert len(streamed_sources(first)) == 40 - len(BAD) - len(held)
    assert not streamed_sources(first) & held
    assert set(sources(first.train)) == streamed_sources(first)
    assert sorted(row.reason for row in first.set_aside) == sorted(BAD.values())


def test_a_long_stream_is_judged_by_its_head_alone(
    renderer: PromptRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "HEAD_ROWS", 16)
    splits = load(renderer, write_parquet(tmp_path / "data", 60), arguments(tmp_path, eval_samples=6))
    assert len(splits.evaluation) == 6
    assert len(splits.train) <= 10
    assert len({source.split(":")[1] for source in sources(splits.evaluation)}) == 6
    rows = [int(source.split(":")[1]) for source in sources(splits.evaluation)]
    assert max(rows) - min(rows) > 30, "from all over the data set"
    assert len(streamed_sources(splits)) == 60 - len(BAD) - 6


def test_identical_images_are_held_out_together(renderer: PromptRenderer, tmp_path: Path) -> None:
    images = [{"bytes": image, "path": None} for image, _ in lines(6)] * 5
    table = pa.table({"image": images, "text": [f"text {row}" for row in range(30)]})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=6)
    splits = load(renderer, tmp_path, arguments(tmp_path))
    held = set(splits.evaluation.with_format(None)["key"])
    trained = {row["key"] for batch in splits.stream.batches(Reader(), 0, 4) for row in batch.rows}
    assert len(held) + len(trained) == 6
    assert not held & trained


def test_groups_are_kept_apart_where_they_are_asked_for(renderer: PromptRenderer, tmp_path: Path) -> None:
    images = [{"bytes": image, "path": None} for image, _ in lines(40)]
    texts = [f"text {row}" for row in range(40)]
    table = pa.table({"image": images, "text": texts, "writer": [f"hand {row % 10}" for row in range(40)]})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=8)
    splits = load(renderer, tmp_path, arguments(tmp_path), group_column="writer")
    hands = {source: f"hand {int(source.split(':')[1]) % 10}" for source in (f"train:{row}" for row in range(40))}
    held = {hands[source] for source in sources(splits.evaluation)}
    assert len(held) == 1
    assert splits.notes[1] == "held out: 1 group, of which no sample is trained on"
    assert not held & {hands[source] for source in streamed_sources(splits)}
    free = load(renderer, tmp_path, arguments(tmp_path))
    assert len(streamed_sources(free)) == 39 - 4
    with pytest.raises(UserError, match="has no column 'hand'"):
        load(renderer, tmp_path, arguments(tmp_path), group_column="hand")


def test_another_split_is_evaluated_on(renderer: PromptRenderer, tmp_path: Path) -> None:
    write_parquet(tmp_path, 20)
    images = [{"bytes": image, "path": None} for image, _ in lines(34)[26:]]
    pq.write_table(pa.table({"image": images, "text": [" ", *"abcdefg"]}), tmp_path / "test.parquet")
    splits = load(renderer, tmp_path, arguments(tmp_path, eval_samples=5), eval_split="test")
    assert sources(splits.evaluation) == [f"test:{row}" for row in range(1, 5)]
    assert [(row.source, row.reason) for row in splits.stream.beside] == [("test:0", "empty_label")]
    assert len(streamed_sources(splits)) == 18


def test_the_pixel_budget_is_settled_from_the_head_and_longer_ones_are_set_aside(
    renderer: PromptRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from drawing import draw_line

    stream = io.BytesIO()
    draw_line("wide", (1120, 280)).save(stream, "PNG")
    small, wide = [{"bytes": data, "path": None} for data in (lines(1)[0][0], stream.getvalue())]
    table = pa.table({"image": [small] * 8 + [wide] * 2, "text": [f"text {row}" for row in range(10)]})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=10)
    whole = PixelBudget.of(renderer.processor)
    monkeypatch.setattr(streaming, "HEAD_ROWS", 4)
    splits = load(renderer, tmp_path, arguments(tmp_path, eval_samples=1), evaluate=False)
    assert PixelBudget.of(renderer.processor) == whole
    aside = [row for batch in splits.stream.batches(Reader(), 0, 4) for row in batch.set_aside]
    assert [(row.source, row.reason) for row in sorted(aside, key=str)] == [
        ("train:8", "too_long"),
        ("train:9", "too_long"),
    ]
    assert "exceed --max_length 200" in aside[0].detail
    monkeypatch.setattr(streaming, "HEAD_ROWS", 10)
    lowered = load(renderer, tmp_path, arguments(tmp_path, eval_samples=1), evaluate=False)
    assert PixelBudget.of(renderer.processor).max_pixels < whole.max_pixels
    assert len(streamed_sources(lowered)) == 10


def test_a_head_of_which_nothing_can_be_used_is_one_line(renderer: PromptRenderer, tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": lines(1)[0][0], "path": None}] * 3, "text": ["", " ", None]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"can be used: 3 x empty_label; the first is train:0"):
        load(renderer, tmp_path, arguments(tmp_path))


@pytest.mark.parametrize(
    ("data", "training", "message"),
    [
        ({}, {"max_steps": -1}, r"needs --max_steps: .*\(8 samples a step: one pass over N is N / 8 steps\)"),
        ({}, {"tokens_per_batch": 900}, "--tokens_per_batch 900 does not work with --streaming True: the length"),
        ({}, {"train_sampling_strategy": "group_by_length"}, "--train_sampling_strategy group_by_length does not"),
        ({}, {"eval_strategy": "epoch"}, "--eval_strategy epoch .*give --eval_strategy steps"),
        ({}, {"save_strategy": "epoch", "eval_strategy": "no"}, "--save_strategy epoch"),
        ({}, {"dataloader_persistent_workers": True, "dataloader_num_workers": 1}, "starts workers anew"),
        ({}, {"dataloader_in_order": False, "dataloader_num_workers": 1}, "could not be resumed exactly"),
        ({}, {"ignore_data_skip": True, "resume_from_checkpoint": "True"}, "where the checkpoint stands"),
        ({"plan": "True"}, {}, "--plan does not work"),
        ({"replay_dataset": "x"}, {}, "--replay_dataset does not"),
        ({"max_samples": 5}, {}, "--max_steps is what ends the run"),
        ({"level": "line"}, {}, "page formats, which are not streamed"),
        ({"train_split": "train[:5]"}, {}, r"--train_split train\[:5\] does not"),
        ({"eval_split": "a+b"}, {}, r"--eval_split a\+b does not"),
        ({"eval_split_size": 0.2}, {}, "--eval_samples N holds N back"),
        ({"dataset_name": ["a", "b"]}, {}, "one data set is streamed at a time"),
        ({"task": "json"}, {}, "the fields of all labels"),
    ],
)
def test_what_needs_all_samples_is_refused(
    data: dict[str, Any], training: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        refuse_with_streaming(DataArguments(**{"dataset_name": "x"} | data), arguments(tmp_path, **training))
    assert "\n" not in str(error.value)


def test_what_works_is_not_refused(tmp_path: Path) -> None:
    for data in ({}, {"eval_split_size": 0.0}, {"eval_split": "test"}):
        refuse_with_streaming(DataArguments("x", **data), arguments(tmp_path))
