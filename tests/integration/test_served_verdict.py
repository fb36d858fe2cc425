"""The verdict is of what is served: the saved files in the type they are saved in, and the base read alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.demo import DATA
from glm_ocr_finetune.training.run_record import read_record

Run = Callable[..., tuple[int, str, str]]
MODES: dict[str, list[str]] = {
    "full": [],
    "lora": ["--use_lora", "True", "--learning_rate", "1e-2"],
    "4bit": ["--use_lora", "True", "--load_in_4bit", "True", "--learning_rate", "1e-2"],
}


def words(output: Path, *more: object) -> list[str]:
    fixed = ["train", "--model_name", "tiny", "--report_to", "none", "--disable_tqdm", "True", "--eval_split", "test"]
    data = ["--dataset_name", DATA, "--max_samples", 12]
    return [str(word) for word in [*fixed, *data, "--output_dir", output, "--max_steps", 2, *more]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output folders of a full, a LoRA and a 4-bit run of two steps that leave their mark."""
    from glm_ocr_finetune.cli import main

    folder = tmp_path_factory.mktemp("runs")
    for mode, flags in MODES.items():
        rate = [] if flags else ["--learning_rate", "1e-3"]
        assert main(words(folder / mode, *flags, *rate)) == 0
    return {mode: folder / mode for mode in MODES}


def readings(folder: Path, name: str) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "evaluation" / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return {row["id"]: row["prediction"] for row in rows}


@pytest.mark.parametrize("mode", MODES)
def test_the_last_word_is_read_with_the_saved_files(runs: dict[str, Path], tmp_path: Path, run: Run, mode: str) -> None:
    data = ("--dataset_name", DATA, "--split", "test", "--max_samples", 12)
    code, _, err = run("evaluate", "--model", runs[mode], *data, "--output_dir", tmp_path)
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert {row["id"]: row["prediction"] for row in rows} == readings(runs[mode], "tuned")
    summary = json.loads((runs[mode] / "summary.json").read_text("utf-8"))
    assert summary["tuned"] == json.loads((tmp_path / "scores.json").read_text("utf-8"))["overall"]["values"]


def test_the_base_of_a_4bit_run_is_read_on_the_weights_that_are_served(runs: dict[str, Path]) -> None:
    assert readings(runs["4bit"], "base") == readings(runs["full"], "base") == readings(runs["lora"], "base")
    assert readings(runs["4bit"], "tuned") != readings(runs["4bit"], "step-2"), "4-bit weights read otherwise"


def cut_off(folder: Path) -> None:
    """Make a finished run one that was cut off before its end."""
    record = read_record(folder)
    assert record is not None
    replace(record, finished=0).write(folder)


def test_a_resumed_run_that_never_read_with_its_base_reads_with_it_now(tmp_path: Path, run: Run) -> None:
    every = ("--save_steps", 1, "--eval_steps", 1, "--learning_rate", 1e-3)
    assert run(*words(tmp_path, *every))[0] == 0
    base, summary = readings(tmp_path, "base"), (tmp_path / "summary.json").read_text("utf-8")
    (tmp_path / "evaluation" / "base.jsonl").unlink()
    cut_off(tmp_path)
    checkpoint = tmp_path / "checkpoint-1"
    code, _, err = run(*words(tmp_path, *every, "--resume_from_checkpoint", checkpoint))
    assert code == 0, err
    assert readings(tmp_path, "base") == base, "the base, and not what was restored from the checkpoint"
    assert json.loads((tmp_path / "summary.json").read_text("utf-8"))["verdict"] == json.loads(summary)["verdict"]


def test_readings_of_other_samples_are_not_taken_for_those_of_the_base(tmp_path: Path, run: Run) -> None:
    every = ("--save_steps", 1, "--eval_steps", 1)
    assert run(*words(tmp_path, *every, "--eval_samples", 12))[0] == 0
    cut_off(tmp_path)
    again = ("--resume_from_checkpoint", tmp_path / "checkpoint-1", "--eval_samples", 7)
    code, _, err = run(*words(tmp_path, *every, *again))
    assert code == 0, err
    assert json.loads((tmp_path / "summary.json").read_text("utf-8"))["samples"] == 7


def test_a_verdict_that_is_not_better_says_what_to_try(tmp_path: Path, run: Run) -> None:
    code, _, err = run(*words(tmp_path, "--learning_rate", 1e-9))
    assert code == 0, err
    summary: dict[str, Any] = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["verdict"] == "no difference shown"
    assert "--num_train_epochs" in summary["next_step"]
    assert f"{summary['verdict_text']}. Next: {summary['next_step']}" in err
