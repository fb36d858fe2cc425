"""Runs that are judged by reading: the base first, then the tuned model, and a plain word at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from drawing import write_lines

Run = Callable[..., tuple[int, str, str]]
WORDS = ("train", "--model_name", "tiny-random", "--report_to", "none", "--disable_tqdm", "True")


@pytest.fixture
def judged(line_folder: Path, tmp_path: Path, run: Run) -> tuple[Path, str]:
    """The output folder and standard error of a short run with an evaluation."""
    words = (*WORDS, "--dataset_name", line_folder, "--output_dir", tmp_path, "--max_steps", 3, "--eval_steps", 2)
    code, _, err = run(*words, "--eval_split_size", 0.3, "--per_device_train_batch_size", 2)
    assert code == 0, err
    return tmp_path, err


def test_base_and_tuned_are_read_on_the_same_samples(judged: tuple[Path, str]) -> None:
    folder, err = judged
    names = {file.stem for file in (folder / "evaluation").iterdir()}
    assert names == {"base", "tuned", "step-2", "step-3"}
    base, tuned = (
        [json.loads(line) for line in (folder / "evaluation" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("base", "tuned")
    )
    assert [row["id"] for row in base] == [row["id"] for row in tuned]
    assert all(Path(row["image"]).is_file() and row["text"] for row in base)
    assert re.search(r"base model: CER \d+\.\d{4} on 4 evaluation samples", err)


def test_summary_and_terminal_say_the_same(judged: tuple[Path, str]) -> None:
    folder, err = judged
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["verdict"] in ("better", "worse", "no difference shown")
    assert summary["verdict_text"] in err
    assert summary["samples"] == 4
    assert [row["step"] for row in summary["history"]] == [2, 3]


def test_the_best_checkpoint_is_the_one_that_reads_best(judged: tuple[Path, str]) -> None:
    folder, _ = judged
    state = json.loads((folder / "trainer_state.json").read_text())
    rates = {row["step"]: row["eval_cer"] for row in state["log_history"] if "eval_cer" in row}
    assert state["best_metric"] == min(rates.values())
    assert rates[state["best_global_step"]] == min(rates.values())
    assert (folder / f"checkpoint-{state['best_global_step']}").is_dir()


def test_evaluation_by_loss_alone_reads_nothing(line_folder: Path, tmp_path: Path, run: Run) -> None:
    words = (*WORDS, "--dataset_name", line_folder, "--output_dir", tmp_path, "--max_steps", 1)
    code, _, err = run(*words, "--eval_generate", "False")
    assert code == 0, err
    assert not (tmp_path / "evaluation").exists()
    assert "metric_for_best_model = eval_loss (nothing is read)" in err


def test_evaluate_scores_a_model_and_anybodys_predictions_alike(line_folder: Path, tmp_path: Path, run: Run) -> None:
    words = ("evaluate", "--dataset_name", line_folder, "--output_dir")
    code, out, err = run(*words, tmp_path / "a", "--model", "tiny-random", "--max_new_tokens", 5)
    assert code == 0, err
    file = tmp_path / "a" / "predictions.jsonl"
    shuffled = list(reversed(file.read_text().splitlines()))
    (tmp_path / "theirs.jsonl").write_text("\n".join(shuffled) + "\n")
    code, again, err = run(*words, tmp_path / "b", "--predictions", tmp_path / "theirs.jsonl")
    assert code == 0, err
    assert again == out
    written = [json.loads(line) for line in (tmp_path / "b" / "predictions.jsonl").read_text().splitlines()]
    assert written == [json.loads(line) for line in file.read_text().splitlines()]
    scores = [json.loads((tmp_path / name / "scores.json").read_text()) for name in "ab"]
    assert scores[0]["overall"] == scores[1]["overall"]
    (tmp_path / "fewer.jsonl").write_text("\n".join(shuffled[:9]) + "\n")
    code, _, err = run(*words, tmp_path / "c", "--predictions", tmp_path / "fewer.jsonl")
    assert "3 missing (scored as empty)" in err
    assert len(json.loads((tmp_path / "c" / "scores.json").read_text())["missing"]) == 3


def test_formulas_are_scored_as_such_and_rows_set_aside_are_told(line_folder: Path, tmp_path: Path, run: Run) -> None:
    truths = {"0.png": (r"\frac{a}{b}", "Formula Recognition:"), "1.png": ("birch", None), "2.png": ("", None)}
    rows = [{"image": f"images/{name}", "text": text, "prompt": prompt} for name, (text, prompt) in truths.items()]
    predictions = [{"image": name, "prediction": r"\dfrac a b" if name == "0.png" else "birch"} for name in truths]
    for name, lines in (("data", rows), ("theirs", predictions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    words = ("--dataset_name", tmp_path / "data.jsonl", "--image_folder", line_folder, "--output_dir", tmp_path)
    code, out, err = run("evaluate", *words, "--predictions", tmp_path / "theirs.jsonl")
    assert code == 0, err
    assert "formula edits" in out
    assert json.loads((tmp_path / "scores.json").read_text())["overall"]["values"]["formula_edit_distance"] == 0
    assert "set aside: 1 empty_label; listed in" in err
    assert "1 predictions belong to no truth" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "tiny-random"], "--dataset_name is required"),
        (["--predictions", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--dataset_name", "{lines}", "--split", "tset", "--model", "tiny-random"], "tset"),
        (["--dataset_name", "{lines}", "--cer_unit", "byte"], "'byte' is not a choice"),
    ],
)
def test_evaluate_refuses_in_one_line(line_folder: Path, run: Run, words: list[str], message: str) -> None:
    code, _, err = run("evaluate", *[word.format(lines=line_folder) for word in words])
    assert code == 2
    assert message in err.splitlines()[-1]


def test_probe_and_replay(line_folder: Path, tmp_path: Path, run: Run) -> None:
    words = (*WORDS, "--dataset_name", line_folder, "--output_dir", tmp_path, "--max_steps", 1)
    other = ("--probe_dataset", line_folder, "--replay_dataset", line_folder, "--replay_ratio", 2)
    code, _, err = run(*words, *other, "--eval_samples", 2)
    assert code == 0, err
    assert "samples: 33 to train on, 1 to evaluate on" in err
    assert "forgetting probe" in err
    probe = json.loads((tmp_path / "summary.json").read_text())["run"]["probe"]
    assert probe["samples"] == 2
    assert probe["verdict"] == "no difference shown"


def test_suspects_are_all_rows_by_doubt(line_folder: Path, tmp_path: Path, run: Run) -> None:
    words = ("evaluate", "--dataset_name", line_folder, "--model", "tiny-random", "--max_new_tokens", 2)
    code, _, err = run(*words, "--output_dir", tmp_path, "--find_label_errors", "True")
    assert code == 0, err
    suspects = [json.loads(line) for line in (tmp_path / "suspects.jsonl").read_text().splitlines()]
    assert len(suspects) == 12
    assert [row["score"] for row in suspects] == sorted(row["score"] for row in suspects)
    assert all(row["text"].startswith(row["doubted"], row["at"]) or row["doubted"] == "<|user|>" for row in suspects)


def test_an_image_damaged_in_the_middle_is_read_as_empty_and_no_suspect(tmp_path: Path, run: Run) -> None:
    file = write_lines(tmp_path, "train", ["amber", "birch", "cedar"])
    damaged = tmp_path / "images" / "train-1.png"
    content = bytearray(damaged.read_bytes())
    start = content.index(b"IDAT") + 8
    content[start : start + 40] = b"\0" * 40
    damaged.write_bytes(content)
    words = ("--dataset_name", file, "--model", "tiny-random", "--max_new_tokens", 2, "--output_dir", tmp_path)
    code, _, err = run("evaluate", *words, "--find_label_errors", "True")
    assert code == 0, err
    assert "scored as read empty: train.jsonl:2" in err
    assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 3
    assert len((tmp_path / "suspects.jsonl").read_text().splitlines()) == 2
    code, _, err = run("report", "--tuned", tmp_path / "predictions.jsonl", "--output", tmp_path / "report.html")
    assert code == 0, err
    page = (tmp_path / "report.html").read_text()
    assert "Suspect labels" in page
    assert "in doubt: " in page
