"""An output folder holds the results of one run, and a new one takes it over only when it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.training.output_folder import held, open_folder, take_over
from glm_ocr_finetune.training.run_record import RunRecord, read_record

NEW = RunRecord("new", {}, 1, "model", {"training": "data"}, 12)
WORDS = ("train", "--model_name", "tiny-random", "--report_to", "none", "--disable_tqdm", "True")


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(output_dir=str(folder), report_to="none", **changes)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


@pytest.mark.parametrize(
    "result", ["checkpoint-3/trainer_state.json", "model.safetensors", "adapter_model.safetensors"]
)
def test_results_of_another_run_are_not_touched(tmp_path: Path, result: str) -> None:
    write(tmp_path, result)
    with pytest.raises(UserError, match=rf"holds the results of another run \({result.split('/')[0]}\).*--overwrite"):
        open_folder(arguments(tmp_path), "tiny")
    assert open_folder(arguments(tmp_path, overwrite_output_dir=True), "tiny") is None
    assert (tmp_path / result).exists()  # until training begins


def test_a_folder_without_results_is_free(tmp_path: Path) -> None:
    write(tmp_path, "notes.txt", "evaluation/mine.jsonl")
    assert open_folder(arguments(tmp_path), "tiny") is None
    take_over(arguments(tmp_path), NEW, None)
    assert (tmp_path / "evaluation" / "mine.jsonl").exists()
    assert read_record(tmp_path) == NEW


def test_overwriting_removes_what_runs_write_and_nothing_else(tmp_path: Path) -> None:
    theirs = ("checkpoint-3/x", "evaluation/base.jsonl", "summary.json", "model.safetensors", "adapter_config.json")
    write(tmp_path, *theirs, "_checkpoint-4.partial/x", "notes.txt", "checkpoint-mine/x", "images/a.png")
    take_over(arguments(tmp_path, overwrite_output_dir=True), NEW, None)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"run.json", "notes.txt", "checkpoint-mine/x", "images/a.png"}


def test_readings_of_a_run_that_left_no_result_do_not_stay_beside_new_ones(tmp_path: Path) -> None:
    RunRecord("old", {}, 1, "model", {}, 12).write(tmp_path)
    write(tmp_path, "evaluation/step-100.jsonl", "loss.svg", "config.json")
    assert open_folder(arguments(tmp_path), "tiny") is None
    take_over(arguments(tmp_path), NEW, None)
    assert not (tmp_path / "evaluation" / "step-100.jsonl").exists()
    assert (tmp_path / "config.json").exists()  # no run that left no weights has written it


def test_the_model_that_is_tuned_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path, "base/model.safetensors")
    changes = {"overwrite_output_dir": True}
    with pytest.raises(UserError, match="would remove the model that is tuned"):
        open_folder(arguments(tmp_path / "base", **changes), str(tmp_path / "base"))
    write(tmp_path, "checkpoint-3/model.safetensors")
    with pytest.raises(UserError, match="would remove the model that is tuned"):
        open_folder(arguments(tmp_path, **changes), str(tmp_path / "checkpoint-3"))


def test_continuing_and_overwriting_contradict_each_other(tmp_path: Path, line_folder: Path, run: Any) -> None:
    words = (
        *WORDS,
        "--dataset_name",
        line_folder,
        "--output_dir",
        tmp_path,
        "--eval_strategy",
        "no",
        "--save_steps",
        1,
    )
    code, _, err = run(*words, "--max_steps", 1)
    assert code == 0, err
    code, _, err = run(*words, "--max_steps", 2, "--resume_from_checkpoint", "True", "--overwrite_output_dir", "True")
    assert code == 2
    assert "give one of them" in err
    code, _, err = run(*words, "--max_steps", 1)
    assert code == 2
    assert "checkpoint-1, model.safetensors" in err
    code, _, err = run(*words, "--max_steps", 1, "--use_lora", "True", "--overwrite_output_dir", "True")
    assert code == 0, err
    assert not (tmp_path / "model.safetensors").exists()  # or the folder would hold two models


def test_a_finished_run_stays_finished_and_more_steps_continue_it(tmp_path: Path, line_folder: Path, run: Any) -> None:
    words = (
        *WORDS,
        "--dataset_name",
        line_folder,
        "--output_dir",
        tmp_path,
        "--eval_strategy",
        "no",
        "--save_steps",
        1,
    )
    words = (*words, "--lr_scheduler_type", "constant", "--gradient_accumulation_steps", 1)
    assert run(*words, "--max_steps", 2)[0] == 0
    weights, state = (tmp_path / "model.safetensors").read_bytes(), (tmp_path / "trainer_state.json").read_text()
    code, _, err = run(*words, "--max_steps", 2, "--resume_from_checkpoint", "True")
    assert (code, "is finished, at step 2 of 2" in err) == (0, True)
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "trainer_state.json").read_text() == state
    code, _, err = run(*words, "--max_steps", 3, "--resume_from_checkpoint", "True")
    assert (code, "max_steps is 3 from here on; checkpoint-2 was saved with 2" in err) == (0, True)
    assert json.loads((tmp_path / "trainer_state.json").read_text())["global_step"] == 3


def test_what_is_restored_is_what_trains(tmp_path: Path, line_folder: Path, run: Any) -> None:
    """The line about the learning rate is true: the log has the checkpoint's."""
    words = (
        *WORDS,
        "--dataset_name",
        line_folder,
        "--output_dir",
        tmp_path,
        "--eval_strategy",
        "no",
        "--save_steps",
        1,
    )
    words = (*words, "--lr_scheduler_type", "constant", "--logging_steps", 1)
    assert run(*words, "--learning_rate", 1e-3, "--max_steps", 1)[0] == 0
    code, _, err = run(*words, "--learning_rate", 0.05, "--max_steps", 2, "--resume_from_checkpoint", "True")
    assert (code, "learning_rate stays 0.001, as checkpoint-1 has it; the 0.05" in err) == (0, True)
    rows = json.loads((tmp_path / "trainer_state.json").read_text())["log_history"]
    assert [row["learning_rate"] for row in rows if "learning_rate" in row] == [1e-3, 1e-3]
    assert read_record(tmp_path / "checkpoint-2").arguments["learning_rate"] == 1e-3  # type: ignore[union-attr]
    code, _, err = run(*words, "--max_steps", 3, "--max_samples", 11, "--resume_from_checkpoint", "True")
    assert (code, "the training data differ from those of" in err) == (2, True)


def test_two_runs_at_the_same_time_do_not_share_a_folder(tmp_path: Path, line_folder: Path, run: Any) -> None:
    words = (*WORDS, "--dataset_name", line_folder, "--output_dir", tmp_path, "--max_steps", 1, "--eval_strategy", "no")
    with held(tmp_path):
        code, _, err = run(*words)
    assert (code, "another run is at work in" in err) == (2, True)
    assert run(*words)[0] == 0
