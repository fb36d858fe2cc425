"""Judged by reading: shuffled labels are called worse, planted wrong labels are found, and two ranks read as one."""

from __future__ import annotations

import json
import os
import random
import socket
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from drawing import sample_entries, write_lines

from glm_ocr_finetune.demo import DATA

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_a_run_on_shuffled_labels_is_called_worse_everywhere(tmp_path: Path, run: Run) -> None:
    texts = sample_entries(random.Random(0), 160)
    write_lines(tmp_path, "train", texts[:120], random.Random(1).sample(texts[:120], 120))
    write_lines(tmp_path, "test", texts[120:])
    words = ("--dataset_name", tmp_path, "--eval_split", "test", "--output_dir", tmp_path / "run", "--max_steps", 15)
    speed = ("--learning_rate", 1e-3, "--per_device_train_batch_size", 8, "--gradient_accumulation_steps", 1)
    code, _, err = run("train", "--model_name", "tiny", *words, *speed, "--eval_steps", 15, "--report_to", "none")
    assert code == 0, err
    assert "The tuned model reads WORSE than the base: corpus_cer 0.0" in err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["verdict"] == "worse"
    assert summary["verdict_text"] in err
    code, _, err = run("report", "--run", tmp_path / "run")
    assert code == 0, err
    assert "<h1>The tuned model reads WORSE than the base.</h1>" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--use_lora", "True")], ids=["full", "lora"])
def test_the_tiny_model_reads_better_with_the_defaults(tmp_path: Path, run: Run, flags: tuple[str, ...]) -> None:
    """Any command works with it, as the README says; only the data, its size and where it goes are given."""
    words = ("--dataset_name", DATA, "--max_samples", 120, "--eval_split", "test", "--output_dir", tmp_path)
    code, _, err = run("train", "--model_name", "tiny", *words, "--report_to", "none", *flags)
    assert code == 0, err
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["verdict"] == "better"
    assert summary["tuned"]["corpus_cer"] < 0.5 * summary["base"]["corpus_cer"]
    assert summary["next_step"] is None


def plant_errors(texts: list[str], rng: random.Random) -> tuple[list[str], set[int]]:
    """Labels of which one in twenty is wrong, and which ones: swapped, a character changed, or a word dropped."""
    labels = list(texts)
    wrong = rng.sample(range(len(texts)), len(texts) // 20)
    swapped, changed, dropped = wrong[:4], wrong[4::2], wrong[5::2]
    for one, other in zip(swapped[::2], swapped[1::2], strict=True):
        labels[one], labels[other] = texts[other], texts[one]
    for index in changed:
        at = rng.randrange(len(texts[index]))
        labels[index] = texts[index][:at] + rng.choice(string.ascii_uppercase) + texts[index][at + 1 :]
    for index in dropped:
        words = texts[index].split()
        del words[rng.randrange(len(words))]
        labels[index] = " ".join(words)
    return labels, set(wrong)


@pytest.mark.slow
def test_planted_wrong_labels_are_among_the_first_suspects(tmp_path: Path, run: Run) -> None:
    texts = sample_entries(random.Random(0), 240)
    labels, wrong = plant_errors(texts, random.Random(1))
    data = write_lines(tmp_path, "train", texts, labels)
    words = ("--dataset_name", data, "--model", "tiny", "--output_dir", tmp_path, "--batch_size", 32)
    code, _, err = run("evaluate", *words, "--find_label_errors", "True")
    assert code == 0, err
    suspects = [json.loads(line)["id"] for line in (tmp_path / "suspects.jsonl").read_text().splitlines()]
    found = {int(name.rsplit(":", 1)[1]) - 1 for name in suspects[: len(texts) // 10]} & wrong
    print(f"{len(found)} of {len(wrong)} planted errors are among the first tenth of the suspects")
    assert len(found) >= 0.8 * len(wrong)


@pytest.mark.slow
def test_two_ranks_score_as_one(line_folder: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    one = [sys.executable, "-m", "glm_ocr_finetune"]
    two = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port, *one[1:]]
    words = ["evaluate", "--dataset_name", line_folder, "--model", "tiny", "--batch_size", "4"]
    words += ["--find_label_errors", "True", "--output_dir"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = [
        subprocess.run(
            [*command, *words, tmp_path / name], capture_output=True, text=True, env=environment, check=False
        )
        for name, command in (("one", one), ("two", two))
    ]
    assert [process.returncode for process in done] == [0, 0], done[1].stderr
    assert done[0].stdout == done[1].stdout
    for name in ("scores.json", "predictions.jsonl"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
    ids = [[json.loads(line)["id"] for line in (tmp_path / name / "suspects.jsonl").open()] for name in ("one", "two")]
    assert ids[0] == ids[1]
