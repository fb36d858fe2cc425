"""Evaluations keep to their share of the training time, and a user's own values stand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import TrainerControl, TrainerState

from glm_ocr_finetune.training import schedule
from glm_ocr_finetune.training.schedule import (
    FEWEST_SAMPLES,
    MOST_SAMPLES,
    MOST_TOKENS,
    SCHEDULE_FILE,
    SHARE,
    EvaluateWithinShare,
    how_many,
    rarer,
    remembered,
)


@pytest.mark.parametrize(
    ("tokens", "count", "expected"),
    [(30, 1000, MOST_SAMPLES), (200, 1000, 200), (1000, 1000, 40), (20_000, 1000, FEWEST_SAMPLES), (1000, 12, 12)],
)
def test_fewer_samples_where_labels_are_long(tokens: int, count: int, expected: int) -> None:
    assert how_many(np.full(count, tokens), None) == expected


def test_samples_that_were_asked_for_are_read_whatever_they_cost() -> None:
    assert how_many(np.full(1000, 5000), 300) == 300
    assert how_many(np.full(10, 5000), 300) == 10
    assert how_many(np.array([], int), None) == 0
    assert MOST_TOKENS < 300 * 5000


@pytest.mark.parametrize(
    ("cost_s", "step_s", "max_steps", "expected"),
    [(1.0, 1.0, 5000, 100), (10.0, 1.0, 5000, 100), (10.1, 1.0, 5000, 200), (180.0, 2.6, 5000, 800)],
)
def test_the_distance_doubles_until_the_share_is_kept(
    cost_s: float, step_s: float, max_steps: int, expected: int
) -> None:
    every = rarer(100, cost_s, step_s, max_steps)
    assert every == expected
    assert cost_s <= SHARE * every * step_s


def test_a_short_run_is_evaluated_at_its_end() -> None:
    assert 300 <= rarer(100, 1000.0, 0.01, 300) < 800


class Run:
    """Steps of a run whose clock is turned by hand."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, reading_s: float, may_change: bool = True, step: int = 0
    ) -> None:
        self.clock = 0.0
        monkeypatch.setattr(schedule.time, "perf_counter", lambda: self.clock)
        file = lambda name: folder / f"{name}.jsonl"  # noqa: E731
        judge: Any = SimpleNamespace(seconds={"base": reading_s}, file=file, samples=range(40))
        self.callback = EvaluateWithinShare(judge, "base", may_change)
        self.state = TrainerState(eval_steps=100, max_steps=5000, global_step=step)
        self.callback.on_train_begin(None, self.state, TrainerControl())

    def steps(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self.clock += seconds
            self.state.global_step += 1
            self.callback.on_step_end(None, self.state, TrainerControl())

    def evaluation(self, seconds: float) -> None:
        self.clock += seconds
        self.callback.on_evaluate(None, self.state, TrainerControl())


def test_what_the_base_cost_settles_it_before_the_first_evaluation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(monkeypatch, tmp_path, reading_s=60.0)
    run.steps(1, 90.0)  # the first steps take long and count for nothing
    run.steps(20, 1.0)
    assert run.state.eval_steps == 800
    assert json.loads((tmp_path / SCHEDULE_FILE).read_text()) == {"eval_steps": 800}


def test_an_evaluation_that_costs_more_than_the_reading_makes_the_next_ones_rarer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(monkeypatch, tmp_path, reading_s=1.0)
    run.steps(100, 1.0)
    assert run.state.eval_steps == 100
    run.evaluation(35.0)  # the loss over all evaluation samples
    assert run.state.eval_steps == 400
    run.evaluation(36.0)
    assert run.state.eval_steps == 400


def test_evaluating_and_saving_are_not_in_the_pace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = Run(monkeypatch, tmp_path, reading_s=5.0)
    for _ in range(20):
        run.steps(1, 1.0)
        run.evaluation(5.0)
        run.clock += 30
        run.callback.on_save(None, run.state, TrainerControl())
    assert run.state.eval_steps == 100


def test_what_the_user_gave_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = Run(monkeypatch, tmp_path, reading_s=600.0, may_change=False)
    run.steps(100, 1.0)
    run.evaluation(600.0)
    assert run.state.eval_steps == 100


def test_a_resumed_run_keeps_to_what_was_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Run(monkeypatch, tmp_path, reading_s=60.0).steps(20, 1.0)
    resumed = Run(monkeypatch, tmp_path, reading_s=0.0, step=500)
    assert resumed.state.eval_steps == 800
    resumed.steps(40, 0.001)
    assert resumed.state.eval_steps == 800
    new = Run(monkeypatch, tmp_path, reading_s=1.0)
    assert new.state.eval_steps == 100, "what lies there is of another run"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"eval_steps": "often"}'])
def test_a_damaged_file_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / SCHEDULE_FILE).write_text(content)
    assert remembered(tmp_path / SCHEDULE_FILE) is None
