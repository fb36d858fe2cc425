"""A step whose gradient is far above the others moves nothing, is listed with its pictures, and others are left alone."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from glm_ocr_finetune.folders import SPIKE_SHEET, SPIKES_FILE
from glm_ocr_finetune.training import spikes
from glm_ocr_finetune.training.spikes import FEWEST, SIGMAS, WINDOW, LeaveOutSpikes

Trainer = Any


def watch() -> LeaveOutSpikes:
    return LeaveOutSpikes(list, lambda: None)


def test_the_rule_worked_out_by_torch() -> None:
    """The mean and the deviation of the steps before, those of left-out ones too."""
    draw, one, seen = random.Random(0), watch(), []
    told, expected = [], []
    for step in range(600):
        norm = math.exp(draw.gauss(0, 0.4)) * (60 if step in (30, 150, 151, 400) else 1)
        before = torch.tensor(seen[-WINDOW:], dtype=torch.float64)
        above = len(before) >= FEWEST and norm > before.mean() + SIGMAS * before.std()
        expected += [step] if above else []
        told += [step] if one.see(norm) else []
        seen.append(norm)
    assert told == expected
    assert 150 in told
    assert 30 not in told  # there is nothing to compare with yet


def test_a_new_level_is_accepted() -> None:
    one = watch()
    for step in range(WINDOW):
        one.see(1.0 + 0.1 * (step % 3))
    assert 1 <= [one.see(8.0) for _ in range(20)].count(True) <= 6


@pytest.mark.parametrize("norm", [None, 0.0, math.nan, math.inf])
def test_norms_that_say_nothing_are_not_counted(norm: float | None) -> None:
    one = watch()
    assert not one.see(norm)
    assert not one.norms


class Shove(TrainerCallback):
    """Makes the gradients of a step a thousand times what they are, as absurd labels may; notes the weights before each."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self.now, self.before = 0, dict[int, torch.Tensor]()
        self.parameter = next(p for p in trainer.model.parameters() if p.requires_grad)
        for one in (p for p in trainer.model.parameters() if p.requires_grad):
            one.register_hook(lambda grad: grad * 1000 if self.now == step else grad)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.now = state.global_step + 1
        self.before[self.now] = self.parameter.detach().clone()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are compared from the sixth on."""
    monkeypatch.setattr(spikes, "FEWEST", 5)


def test_a_spike_moves_nothing_and_its_rows_are_shown(soon: None, build_trainer: Any) -> None:
    trainer = build_trainer(max_steps=9, save_strategy="no")
    shove = Shove(trainer, 8)
    trainer.add_callback(shove)
    trainer.train()
    moved = {step: not torch.equal(shove.before[step], shove.before[step + 1]) for step in range(1, 9)}
    assert moved == {step: step != 8 for step in range(1, 9)}
    output = Path(trainer.args.output_dir)
    (line,) = (output / SPIKES_FILE).read_text(encoding="utf-8").splitlines()
    told = json.loads(line)
    assert told["step"] == 8
    assert told["norm"] > 100 * told["usual"]
    batch = trainer.batch_plan().batches(2)[1]  # three steps an epoch
    assert [row.rpartition(":")[2] for row in told["rows"]] == [str(number + 1) for number in batch]
    sheet = (output / SPIKE_SHEET.format(step=8)).read_text(encoding="utf-8")
    assert sheet.count("<img") == len(batch)


def test_a_resumed_run_compares_with_the_steps_before_it(soon: None, build_trainer: Any) -> None:
    first = build_trainer(max_steps=6, save_steps=6)
    first.train()
    norms = list(first.spikes.norms)
    again = build_trainer(max_steps=8, save_strategy="no")
    again.train(resume_from_checkpoint=str(Path(first.args.output_dir) / "checkpoint-6"))
    assert list(again.spikes.norms)[:6] == norms
    assert len(again.spikes.norms) == 8


def test_a_new_run_of_the_same_trainer_begins_with_nothing(build_trainer: Any) -> None:
    trainer = build_trainer(max_steps=2, save_strategy="no")
    trainer.train()
    trainer.train()
    assert len(trainer.spikes.norms) == 2
