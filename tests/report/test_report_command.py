"""The command ``report``: a run, plain predictions, and what it refuses."""

from __future__ import annotations

import json
import re
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


def test_a_run_without_an_evaluation_is_reported_as_far_as_it_goes(tmp_path: Path, run: Run) -> None:
    log = [{"step": step, "loss": 3.0 / step, "epoch": step / 2} for step in range(1, 9)]
    end = {"step": 8, "train_loss": 0.9, "train_runtime": 61.2, "epoch": 4.0}
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 8, "log_history": [*log, end]}))
    (tmp_path / "set_aside.jsonl").write_text('{"source": "a:1", "reason": "empty_label"}\n')
    (tmp_path / "glm_ocr_finetune.json").write_text('{"base_model": "tiny", "prompt": "Text Recognition:"}')
    code, _, err = run("report", "--run", tmp_path)
    assert code == 0, err
    text = (tmp_path / "report.html").read_text()
    assert "<h1>This run was not evaluated.</h1>" in text
    assert "glm-ocr-finetune evaluate <code" in text
    assert re.findall(r"<dt>(.*?)</dt><dd dir=\"auto\">(.*?)</dd>", text) == [
        ("model", "tiny"),
        ("steps", "8"),
        ("epochs", "4.0"),
        ("mean training loss", "0.9"),
        ("training time", "61 s"),
    ]
    assert 'aria-label="Loss by step"' in text
    assert "empty label" in text
    assert 'id="samples-browser"' not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name either --run"),
        (["--run", "a", "--tuned", "b"], "name either --run"),
        (["--run", "a", "--base", "b"], "--base goes with --tuned"),
        (["--run", "nowhere"], "--run nowhere: no such folder; expected the --output_dir of a training run"),
    ],
)
def test_what_cannot_be_reported(run: Run, words: list[str], message: str) -> None:
    code, _, err = run("report", *words)
    assert code == 2
    assert message in err.splitlines()[-1]


def test_a_folder_that_is_nearly_right_is_told_from_a_run(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "judged" / "predictions.jsonl", ["truth"])
    assert (
        f"expected --tuned {tmp_path / 'judged' / 'predictions.jsonl'}"
        in run("report", "--run", tmp_path / "judged")[2]
    )
    write(tmp_path / "run" / "trainer_state.json", [])
    write(tmp_path / "run" / "checkpoint-4" / "trainer_state.json", [])
    assert f"expected --run {tmp_path / 'run'}" in run("report", "--run", tmp_path / "run" / "checkpoint-4")[2]
    (tmp_path / "empty").mkdir()
    assert "neither readings nor a trainer_state.json" in run("report", "--run", tmp_path / "empty")[2]


def test_a_run_that_was_stopped_is_reported_from_its_newest_checkpoint(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "evaluation" / "base.jsonl", ["truth"] * 5 + ["lies!"] * 5)
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        state = {"global_step": step, "log_history": [{"step": 1, "loss": 2.0}, {"step": step, "loss": 1.0}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    code, _, err = run("report", "--run", tmp_path)
    assert code == 0, err
    text = (tmp_path / "report.html").read_text()
    assert "<h1>Only the base was read: 50.00" in text
    assert "step 10: 1" in text
