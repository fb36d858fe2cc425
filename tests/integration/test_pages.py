"""Whole pages: what a run was trained at and what it is served at is one number, and no page is lost by default."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawing import WORDS
from PIL import Image, ImageDraw

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.inputs.processor import PixelBudget, load_processor
from glm_ocr_finetune.train import keep_lengths
from glm_ocr_finetune.training_args import TrainingArguments

Run = Callable[..., tuple[int, str, str]]
WHOLE = 4_816_896


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pages of 40 x 30 image tokens, with 200 to 450 bytes of text."""
    folder = tmp_path_factory.mktemp("pages")
    rows = []
    for number in range(6):
        text = "\n".join(" ".join(WORDS[(number + i) % 12 :][:4]) for i in range(10 + 2 * number))
        page = Image.new("L", (840, 1120), 255)
        ImageDraw.Draw(page).multiline_text((40, 40), text, fill=0)
        page.save(folder / f"{number}.png")
        rows.append(json.dumps({"image": f"{number}.png", "text": text}) + "\n")
    (folder / "train.jsonl").write_text("".join(rows))
    return folder


def words(pages: Path, output: Path, *more: object) -> tuple[object, ...]:
    quick = ("--report_to", "none", "--disable_tqdm", "True", "--eval_strategy", "no", "--max_steps", 1)
    batch = ("--per_device_train_batch_size", 1, "--gradient_accumulation_steps", 1)
    data = ("--model_name", "tiny-random", "--dataset_name", pages / "train.jsonl", "--output_dir", output)
    return ("train", *data, *quick, *batch, *more)


def served(folder: Path) -> PixelBudget:
    return PixelBudget.of(load_processor(folder))


def sidecar(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "glm_ocr_finetune.json").read_text("utf-8"))
    return found


def test_a_length_that_is_given_lowers_the_budget_that_is_saved(pages: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run(*words(pages, tmp_path, "--max_length", 1100))
    assert code == 0, err
    budget = served(tmp_path)
    tokens = budget.num_image_tokens(1120, 840)
    assert 550 < tokens < 700
    assert f"max_pixels = {budget.max_pixels} instead of {WHOLE}, in training and in what is saved: 6 images" in err
    assert f"images have at most {tokens} tokens" in err
    assert "6 to train on" in err
    assert sidecar(tmp_path)["max_length"] == 1100
    code, out, _ = run(*words(pages, tmp_path, "--max_length", 1100, "--dry_run", "True"))
    assert f"<|image|> x {tokens}" in out, "and that is what is trained"


def test_nothing_is_lowered_where_it_fits(pages: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run(*words(pages, tmp_path, "--dry_run", "True"))
    assert code == 0, err
    assert "instead of" not in err
    assert "<|image|> x 1200" in out


def test_a_length_that_nobody_gave_is_what_the_data_needs(pages: Path, tmp_path: Path, run: Run) -> None:
    rows = [json.loads(line) for line in (pages / "train.jsonl").read_text().splitlines()]
    rows[0]["text"] *= 8
    (pages / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    longer = ("--dataset_name", pages / "long.jsonl", "--dry_run", "True")
    code, _, err = run(*words(pages, tmp_path, *longer))
    assert code == 0, err
    needed = 1200 + len(rows[0]["text"].encode())
    found = int(err.split("max_length = ")[-1].split()[0])
    assert needed < found < needed + 100
    assert "what the longest of 6 samples needs; it fits" in err


def test_a_budget_that_was_given_stands_and_what_does_not_fit_is_listed(pages: Path, tmp_path: Path, run: Run) -> None:
    code, _, err = run(*words(pages, tmp_path, "--max_length", 1500, "--max_pixels", WHOLE))
    assert code == 0, err
    assert served(tmp_path).max_pixels == WHOLE
    aside = [json.loads(line) for line in (tmp_path / "set_aside.jsonl").read_text("utf-8").splitlines()]
    assert 0 < len(aside) < 6
    assert {row["reason"] for row in aside} == {"too_long"}
    assert "1200 of image exceed --max_length 1500" in aside[0]["detail"]


def test_a_resumed_run_keeps_what_its_first_sitting_settled(pages: Path, tmp_path: Path, run: Run) -> None:
    assert run(*words(pages, tmp_path, "--max_length", 1100, "--save_steps", 1))[0] == 0
    data_args = DataArguments()
    training_args = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    keep_lengths(str(tmp_path / "checkpoint-1"), data_args, training_args)
    budget = served(tmp_path)
    assert (data_args.min_pixels, data_args.max_pixels) == (budget.min_pixels, budget.max_pixels)
    assert (training_args.max_length, training_args.gave_max_length) == (1100, True)
    given = TrainingArguments(output_dir=str(tmp_path), report_to="none", max_length=1300)
    keep_lengths(str(tmp_path / "checkpoint-1"), DataArguments(max_pixels=5000), given)
    assert given.max_length == 1300
