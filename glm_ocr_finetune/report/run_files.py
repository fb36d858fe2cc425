"""What a run folder holds for the report; every optional file may be missing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..folders import (
    BASE_READINGS,
    PREDICTIONS_FILE,
    SET_ASIDE_FILE,
    STATE_FILE,
    SUMMARY_FILE,
    SUSPECTS_FILE,
    TUNED_READINGS,
    readings_file,
)
from ..inputs.labels import is_storable
from ..inputs.special_tokens import STOP_TOKEN
from ..metrics import Reading, read_predictions

_SUSPECT_TEXTS = ("id", "text", "prediction")

Point = tuple[float, float]


@dataclass(frozen=True)
class ReadingFile:
    """The readings of one system, and the folder that their image paths are relative to."""

    readings: tuple[Reading, ...]
    folder: Path


@dataclass(frozen=True)
class SuspectLabel:
    """A label that the model contradicts; ``score`` is its trust, the lowest first. ``doubted`` says where."""

    reading: Reading
    score: float | None
    doubted: str


@dataclass(frozen=True)
class RunFacts:
    """What is known beside the readings.

    Attributes:
        facts: name -> value, as the run's summary lists them.
        next_step: what the run advised at its end, knowing how it had gone; None when it did not.
        log: rows of the trainer's log, in its order.
        set_aside: reason -> number of rows that were not trained on.
        suspects: ranked, the most suspect first, and the folder that their image paths are relative to.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    next_step: str | None = None
    log: Sequence[Mapping[str, Any]] = ()
    set_aside: Mapping[str, int] = field(default_factory=dict)
    suspects: Sequence[SuspectLabel] = ()
    folder: Path = Path()

    def curve(self, name: str) -> list[Point]:
        """(step, value) of each log row that has a number of this name."""
        return [(row["step"], row[name]) for row in self.log if _is_number(row.get(name)) and _is_number(row["step"])]


def read_run_readings(run: Path, name: str) -> ReadingFile | None:
    """The readings of a run called ``name``; None when there are none."""
    file = readings_file(run, name)
    return read_readings(file) if file.is_file() else None


def read_readings(file: Path) -> ReadingFile:
    """The readings of a prediction file whose rows carry their truths; raises ``UserError``."""
    return ReadingFile(read_predictions(file).readings, file.parent)


def read_run(run: Path) -> RunFacts:
    """The facts of a run folder; raises ``UserError`` for a file that is there and cannot be read."""
    summary = _read_object(run / SUMMARY_FILE)
    state = _read_object(_state_file(run))
    log = [row for row in state.get("log_history") or [] if isinstance(row, dict) and "step" in row]
    facts, next_step = summary.get("run"), summary.get("next_step")
    return RunFacts(
        facts=facts if isinstance(facts, dict) else _facts_of_training(run, state, log),
        next_step=next_step if isinstance(next_step, str) else None,
        log=log,
        set_aside=dict(Counter(str(row.get("reason")) for row in _read_rows(run / SET_ASIDE_FILE)).most_common()),
        suspects=_read_suspects(run),
        folder=run,
    )


def check_is_run(run: Path) -> None:
    """Raise ``UserError`` for a folder that no training run has written to, with the nearest thing that is meant."""
    if run.name.startswith("checkpoint-") and (run.parent / STATE_FILE).is_file():
        raise UserError(f"{run} is one checkpoint of a run; expected --run {run.parent}")
    readings = [readings_file(run, name) for name in (BASE_READINGS, TUNED_READINGS)]
    if any(file.is_file() for file in (*readings, run / SUMMARY_FILE, _state_file(run))):
        return
    if (run / PREDICTIONS_FILE).is_file():
        raise UserError(f"{run} holds an evaluation, not a run; expected --tuned {run / PREDICTIONS_FILE}")
    found = f"no training run, neither readings nor a {STATE_FILE}" if run.is_dir() else "no such folder"
    raise UserError(f"--run {run}: {found}; expected the --output_dir of a training run")


def _state_file(run: Path) -> Path:
    """The trainer's state: of the finished run, else of its newest checkpoint."""
    if (run / STATE_FILE).is_file():
        return run / STATE_FILE
    checkpoints = [path for path in run.glob(f"checkpoint-*/{STATE_FILE}") if path.parent.name[11:].isdigit()]
    return max(checkpoints, key=lambda path: int(path.parent.name[11:]), default=run / STATE_FILE)


def _facts_of_training(run: Path, state: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is known of a run that has no summary of an evaluation."""
    last: dict[str, Any] = {name: value for row in log for name, value in row.items() if _is_number(value)}
    loss, seconds = last.get("train_loss"), last.get("train_runtime")
    return {
        "model": _read_object(run / "glm_ocr_finetune.json").get("base_model"),
        "steps": state.get("global_step"),
        "epochs": round(last["epoch"], 2) if "epoch" in last else None,
        "mean training loss": f"{loss:.4g}" if loss is not None else None,
        "training time": f"{seconds:,.0f} s" if seconds is not None else None,
    }


def read_evaluation(folder: Path) -> RunFacts:
    """What ``evaluate`` wrote beside its predictions: the suspects; raises ``UserError`` as :func:`read_run`."""
    return RunFacts(suspects=_read_suspects(folder), folder=folder)


def _read_suspects(folder: Path) -> list[SuspectLabel]:
    return [_suspect(folder, number, row) for number, row in enumerate(_read_rows(folder / SUSPECTS_FILE), 1)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _suspect(run: Path, number: int, row: Mapping[str, Any]) -> SuspectLabel:
    unusable = [name for name in _SUSPECT_TEXTS if not isinstance(row.get(name), str)]
    if unusable:
        raise UserError(f"{run / SUSPECTS_FILE} line {number}: {unusable[0]!r} is not text; expected a string")
    source, image = (value if isinstance(value, str) else None for value in (row.get("source"), row.get("image")))
    reading = Reading(row["id"], row["text"], row["prediction"], source=source, image=image)
    score = row.get("score")
    return SuspectLabel(reading, score if _is_number(score) else None, _doubt(row))


def _doubt(row: Mapping[str, Any]) -> str:
    """What of a label is in doubt, in words; empty when that is not known."""
    doubted = row.get("doubted")
    if not doubted:
        return ""
    what = "the end" if doubted == STOP_TOKEN else f"“{doubted}”"
    return f"in doubt: {what} after {row.get('at', 0)} characters"


def _read_object(file: Path) -> dict[str, Any]:
    text = _read_text(file)
    found = _parse(file, 1, text) if text else {}
    if not isinstance(found, dict):
        raise UserError(f"{file} holds a {type(found).__name__}; expected a JSON object")
    return found


def _read_rows(file: Path) -> list[dict[str, Any]]:
    lines = [(number, line) for number, line in enumerate(_read_text(file).split("\n"), 1) if line.strip()]
    rows = [_parse(file, number, line) for number, line in lines]
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file} holds a line that is no JSON object; expected one object a line")
    return rows


def _read_text(file: Path) -> str:
    """The text of an optional file; empty when there is none."""
    try:
        return file.read_text(encoding="utf-8-sig") if file.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from error


def _parse(file: Path, line: int, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} line {line} is not JSON: {error}") from error
    if not is_storable(json.dumps(value, ensure_ascii=False)):
        raise UserError(f"{file} line {line} holds half of a surrogate pair, which is no character; write U+FFFD")
    return value
