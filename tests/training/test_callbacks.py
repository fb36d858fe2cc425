"""The picture of the loss; how a signal ends a run is in invariant/test_stopping.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

from transformers import TrainerState

from glm_ocr_finetune.folders import LOSS_CURVE_FILE
from glm_ocr_finetune.training.callbacks import DrawLoss


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
