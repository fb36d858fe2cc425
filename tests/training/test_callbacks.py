"""Beside the loop: a signal ends a run in order, the loss is drawn, and an idle tower leaves the GPU."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from transformers import TrainerControl, TrainerState

from glm_ocr_finetune.training.callbacks import CURVE_FILE, DrawLoss, SaveOnSignal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def on_signal() -> Any:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    callback = SaveOnSignal()
    callback.on_train_begin(None, None, None)
    yield callback
    callback.on_train_end(None, None, None)
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_and_stops_at_the_end_of_the_step(on_signal: Any, number: signal.Signals) -> None:
    control = on_signal.on_step_end(None, None, TrainerControl())
    assert (control.should_save, control.should_training_stop) == (False, False)
    os.kill(os.getpid(), number)
    assert on_signal.received == number
    control = on_signal.on_step_end(None, None, TrainerControl())
    assert (control.should_save, control.should_training_stop) == (True, True)


def test_a_second_signal_leaves_at_once(on_signal: Any) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def draw(folder: Path, log: list[dict[str, float]], main: bool = True) -> Path:
    state = TrainerState(log_history=log, is_world_process_zero=main)
    DrawLoss().on_save(SimpleNamespace(output_dir=str(folder)), state, None)
    return folder / CURVE_FILE


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
