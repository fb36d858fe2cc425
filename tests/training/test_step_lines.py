"""What a run says of its steps: one line an evaluation; the log itself is transformers' as before."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PrinterCallback, ProgressCallback, TrainerState

from glm_ocr_finetune.progress import PLAIN_S, Pace
from glm_ocr_finetune.training.step_lines import StepLines, in_words, percent


@pytest.mark.parametrize(
    ("share", "words"), [(0.7994, "79.9 %"), (0.0234, "2.3 %"), (0.00234, "0.23 %"), (0.0, "0 %"), (1.234, "123.4 %")]
)
def test_percentages(share: float, words: str) -> None:
    assert percent(share) == words


def test_an_evaluation_in_words() -> None:
    read = {"eval_loss": 0.1, "eval_cer": 0.0234, "eval_repetition_rate": 0.0, "eval_stop_rate": 1.0}
    assert in_words(read, 0.7994) == ["CER 2.3 % (base 79.9 %)", "loops 0 %"]
    assert in_words(read | {"eval_stop_rate": 0.9}, None) == ["CER 2.3 %", "loops 0 %", "stops 90 %"]
    assert in_words({"eval_cer": 0.5}, None) == ["CER 50 %"]
    assert in_words({"eval_loss": 0.123}, 0.5) == ["evaluation loss 0.12"]


class Run:
    """A run of 400 steps of 3 s each, by a clock of its own."""

    def __init__(self, logging_steps: int = 10, max_steps: int = 400) -> None:
        self.now = 0.0
        self.args = SimpleNamespace(logging_steps=logging_steps, disable_tqdm=False)
        self.state = TrainerState(max_steps=max_steps, is_world_process_zero=True)
        self.lines = StepLines()
        self.lines.on_train_begin(self.args, self.state, None)
        line = self.lines._line
        line.pace = Pace(max_steps, 0, lambda: self.now)
        line.was_said()

    def step(self, evaluates: bool = False) -> None:
        self.now += 3.0
        self.state.global_step += 1
        self.lines.on_step_end(self.args, self.state, None)
        if self.state.global_step % self.args.logging_steps == 0:
            self.lines.on_log(self.args, self.state, SimpleNamespace(should_evaluate=evaluates), {"loss": 0.0612})


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_line_of_an_evaluation(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = Run(logging_steps=20)
    run.lines.base_cer = 0.7994
    for _ in range(19):
        run.step()
    run.step(evaluates=True)
    assert messages(caplog) == []  # the loss is part of the line that comes
    metrics = {"eval_loss": 0.1, "eval_cer": 0.0234, "eval_repetition_rate": 0.0, "eval_stop_rate": 1.0}
    run.lines.evaluated(run.state, metrics, best=True, reading_s=60.0)
    # 380 steps of 3 s, and a minute for the reading at the end
    assert messages(caplog) == ["step 20  loss 0.061  CER 2.3 % (base 79.9 %)  loops 0 %  best  20 min left"]


def test_at_the_end_nothing_is_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = Run(max_steps=2)
    run.step()
    run.step()
    run.lines.evaluated(run.state, {"eval_loss": 0.5}, best=False, reading_s=0.0)
    run.lines.on_log(run.args, run.state, None, {"train_runtime": 61.2, "train_loss": 1.0})
    assert messages(caplog) == ["step 2  evaluation loss 0.5", "trained to step 2 in 1 min 1 s"]


def test_in_a_file_losses_come_now_and_then_and_all_of_them_when_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = Run()
    for _ in range(25):
        run.step()
    assert PLAIN_S == 30
    assert [line.split("  ")[0] for line in messages(caplog)] == ["step 10", "step 20"]
    caplog.clear()
    quick = Run(logging_steps=2)
    for _ in range(6):
        quick.step()
    assert [line.split("  ")[0] for line in messages(caplog)] == ["step 2", "step 4", "step 6"]


def test_drafts_that_are_trained_stand_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = Run()
    logs = {"loss": 0.5, "mtp_acceptance_1": 0.553}
    run.lines.on_log(run.args, run.state, SimpleNamespace(should_evaluate=True), logs)
    run.lines.evaluated(run.state, {"eval_cer": 0.5}, best=False, reading_s=0.0)
    assert messages(caplog) == ["step 0  loss 0.5  drafts accepted 55.3 %  CER 50 %"]


def test_a_run_prints_no_dictionaries_and_logs_as_before(
    build_trainer: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", "glm_ocr_finetune.training.step_lines")
    trainer = build_trainer(evaluate=True, logging_steps=2)
    kinds = {type(one) for one in trainer.callback_handler.callbacks}
    assert not kinds & {PrinterCallback, ProgressCallback}
    trainer.train()
    captured = capsys.readouterr()
    assert "{" not in captured.out + captured.err
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("step_lines")]
    assert [line.split("  ")[0] for line in lines[:3]] == ["step 2", "step 4", "step 6"]
    assert all(re.search(r"loss [\d.]+  evaluation loss [\d.]+", line) for line in lines[:3])
    assert lines[0].endswith("left")
    assert lines[3].startswith("trained to step 6 in ")
    history = trainer.state.log_history
    assert [row["step"] for row in history if "loss" in row] == [2, 4, 6]
    assert [row["step"] for row in history if "eval_loss" in row] == [2, 4, 6]
    assert {"grad_norm", "learning_rate", "epoch"} <= set(history[0])


def test_an_exception_takes_the_line_away(build_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = build_trainer()
    closed: list[bool] = []
    monkeypatch.setattr(trainer.step_lines, "close", lambda: closed.append(True))
    monkeypatch.setattr(trainer, "training_step", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert len(closed) == 2  # at its beginning, and now
