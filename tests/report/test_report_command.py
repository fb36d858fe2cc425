"""The command ``report``: a run, plain predictions, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def write(file: Path, predictions: list[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"id": str(i), "text": "truth", "prediction": text} for i, text in enumerate(predictions)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_run_is_reported_in_its_folder(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "evaluation" / "base.jsonl", ["truth"] * 8)
    write(tmp_path / "evaluation" / "tuned.jsonl", ["lies!"] * 8)
    code, _, err = run("report", "--run", tmp_path)
    assert code == 0, err
    assert "WORSE" in (tmp_path / "report.html").read_text().upper()


def test_predictions_are_reported_where_asked(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path / "theirs.jsonl", ["truth"] * 3)
    code, _, err = run("report", "--tuned", file, "--output", tmp_path / "page.html")
    assert code == 0, err
    assert "<html" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name either --run"),
        (["--run", "a", "--tuned", "b"], "name either --run"),
        (["--run", "a", "--base", "b"], "--base goes with --tuned"),
        (["--run", "nowhere"], "nowhere has no evaluation"),
    ],
)
def test_what_cannot_be_reported(run: Run, words: list[str], message: str) -> None:
    code, _, err = run("report", *words)
    assert code == 2
    assert message in err.splitlines()[-1]
