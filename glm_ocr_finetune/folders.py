"""Where things lie on disk: the files of a run's output folder, and what is kept for later runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import UserError

SET_ASIDE_FILE = "set_aside.jsonl"
SPIKES_FILE = "spikes.jsonl"
SPIKE_SHEET = "spike-{step}.svg"
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


def check_writable(directory: str | Path) -> None:
    """Make the folder of ``--output_dir`` where it is missing. Raises UserError when nothing can be written to it."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UserError(f"--output_dir {directory} cannot be written: {error.strerror}; choose another") from error


def check_new_folder(folder: Path) -> None:
    """Raise UserError unless the folder of ``--output_dir`` can be made, by renaming one beside it; it is not there then."""
    check_writable(folder)
    try:
        folder.rmdir()
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
    except OSError as error:
        raise UserError(f"--output_dir {folder} cannot be written: {error.strerror}; choose another") from error
