"""Where things lie on disk: the files of a run's output folder, and what is kept for later runs."""

from __future__ import annotations

import os
from pathlib import Path

SET_ASIDE_FILE = "set_aside.jsonl"
SUMMARY_FILE = "summary.json"
STATE_FILE = "trainer_state.json"
RUN_FILE = "run.json"
LOSS_CURVE_FILE = "loss.svg"
CONTACT_SHEET_FILE = "samples.svg"
REPORT_FILE = "report.html"
SUSPECTS_FILE = "suspects.jsonl"
PREDICTIONS_FILE = "predictions.jsonl"
SCORES_FILE = "scores.json"
RESULTS_FILE = "readings.jsonl"
JOURNALS_FOLDER = "journals"
READING_FILE = "reading.json"
EVALUATION_FOLDER = "evaluation"
BASE_READINGS, TUNED_READINGS = "base", "tuned"


def readings_file(run: Path, name: str) -> Path:
    """The readings called ``name`` (``BASE_READINGS``, ``TUNED_READINGS``, ``step-100``) in a run's folder."""
    return run / EVALUATION_FOLDER / f"{name}.jsonl"


def kept_for_later(name: str) -> Path:
    """Where ``name`` (vision, surveys) is kept between runs: below ``$XDG_CACHE_HOME/glm-ocr-finetune``."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "glm-ocr-finetune" / name
