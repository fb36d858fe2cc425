"""Leaving in order on a signal, and the picture of the loss."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from transformers import TrainerCallback, TrainerState

from glm_ocr_finetune.folders import LOSS_CURVE_FILE
from glm_ocr_finetune.training import callbacks
from glm_ocr_finetune.training import trainer_parts as trainer_module
from glm_ocr_finetune.training.callbacks import DrawLoss, SaveOnSignal, exit_code_of


class SendAt(TrainerCallback):
    """Sends this process signals in a step, some seconds apart."""

    def __init__(self, step: int, *numbers: int, apart: float = 0.0) -> None:
        self.step, self.numbers, self.apart = step, numbers, apart

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == self.step:
            for number in self.numbers:
                os.kill(os.getpid(), number)
                time.sleep(self.apart)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_saves_the_step_and_ends_the_run(build_trainer: Any, name: str) -> None:
    trainer, on_signal = build_trainer(save_strategy="no"), SaveOnSignal()
    number = getattr(signal, name)
    if signal.getsignal(number) is signal.SIG_IGN:  # the tests were started with nohup
        signal.signal(number, signal.SIG_DFL)
    before = signal.getsignal(number)
    trainer.add_callback(on_signal)
    trainer.add_callback(SendAt(3, number, number))  # twice at once, as a terminal and a launcher send it
    trainer.train()
    assert trainer.state.global_step == 3
    assert on_signal.stopped_by == number
    assert (Path(trainer.args.output_dir) / "checkpoint-3" / "optimizer.pt").is_file()
    assert signal.getsignal(number) is before


def test_a_second_signal_leaves_at_once(build_trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "SAME_SIGNAL_S", 0.05)
    trainer, on_signal = build_trainer(save_strategy="no"), SaveOnSignal()
    before = signal.getsignal(signal.SIGINT)
    trainer.add_callback(on_signal)
    trainer.add_callback(SendAt(3, signal.SIGINT, signal.SIGINT, apart=0.1))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.state.global_step == 2
    assert not list(Path(trainer.args.output_dir).glob("checkpoint-*"))
    assert signal.getsignal(signal.SIGINT) is before


def test_the_signal_that_ends_a_job_does_not_cut_the_saving_short(
    build_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm warns with SIGUSR1 and ends with SIGTERM, however long apart."""
    monkeypatch.setattr(callbacks, "SAME_SIGNAL_S", 0.05)
    trainer, on_signal = build_trainer(save_strategy="no"), SaveOnSignal()
    trainer.add_callback(on_signal)
    trainer.add_callback(SendAt(3, signal.SIGUSR1, signal.SIGTERM, apart=0.1))
    trainer.train()
    assert on_signal.stopped_by == signal.SIGTERM
    assert (Path(trainer.args.output_dir) / "checkpoint-3" / "optimizer.pt").is_file()


def test_exit_codes_tell_a_machine_from_a_person() -> None:
    assert [exit_code_of(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == [os.EX_TEMPFAIL] * 2
    assert [exit_code_of(number) for number in (signal.SIGINT, signal.SIGHUP)] == [130, 129]


def test_a_signal_that_is_ignored_stays_ignored(build_trainer: Any) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup leaves it
    try:
        trainer = build_trainer(save_strategy="no")
        trainer.add_callback(SaveOnSignal())
        trainer.add_callback(SendAt(3, signal.SIGHUP))
        trainer.train()
        assert trainer.state.global_step == 6
    finally:
        signal.signal(signal.SIGHUP, before)


def draw(folder: Path, log: list[dict[str, float]], main: bool = True) -> Path:
    state = TrainerState(log_history=log, is_world_process_zero=main)
    DrawLoss().on_save(SimpleNamespace(output_dir=str(folder)), state, None)
    return folder / LOSS_CURVE_FILE


def test_the_loss_is_drawn_with_its_evaluation(tmp_path: Path) -> None:
    log = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 2.0},
        {"step": 2, "eval_loss": 2.5},
        {"step": 2, "eval_cer": 0.5},
    ]
    text = draw(tmp_path, log).read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "training loss" in text
    assert "evaluation loss" in text


def test_nothing_is_drawn_of_nothing_or_by_another_rank(tmp_path: Path) -> None:
    assert not draw(tmp_path, []).exists()
    assert not draw(tmp_path, [{"step": 1, "loss": 3.0}], main=False).exists()


@pytest.mark.parametrize(
    ("save_steps", "words"), [(2, "the last checkpoint is {out}/checkpoint-2"), (9, "no checkpoint")]
)
def test_leaving_at_once_says_what_is_saved(
    line_folder: Path, tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, save_steps: int, words: str
) -> None:
    class Leave(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt  # as the second Ctrl-C does

    monkeypatch.setattr(trainer_module, "DrawLoss", Leave)
    out = tmp_path / "out"
    flags = ("--dataset_name", line_folder, "--output_dir", out, "--max_steps", 9, "--save_steps", save_steps)
    code, _, err = run("train", "--model_name", "tiny-random", "--eval_strategy", "no", "--report_to", "none", *flags)
    assert code == 130
    assert words.format(out=out) in err.splitlines()[-1]
