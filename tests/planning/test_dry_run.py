"""The dry run: the table of parts, and a batch spelt out token by token."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from drawing import write_lines
from rich.console import Console

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.processor import load_processor
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import load_model
from glm_ocr_finetune.planning.dry_run import parts_table, show_samples, visible

Run = Callable[..., tuple[int, str, str]]


def printed(show: Any, *args: Any) -> str:
    file = StringIO()
    console = Console(file=file, width=200, highlight=False, soft_wrap=True)
    show(console, *args)
    return file.getvalue()


@pytest.mark.parametrize("rank", [None, 4])
def test_the_table_says_what_is_trained(rank: int | None) -> None:
    model, _ = load_model("tiny-random", use_lora=rank is not None, lora_rank=rank or 8)
    text = printed(lambda console: console.print(parts_table(model)))
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:5]]
        for line in text.splitlines()
        if "│" in line
    }
    assert rows["vision tower"][1:] == ["frozen", "-"]
    assert rows["language model"][2] == (str(rank) if rank else "-")
    total, trainable = (
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for p in model.parameters() if p.requires_grad),
    )
    assert rows["all"][1].startswith(f"{trainable:,} (")
    assert rows["all"][0] == f"{total if rank is None else total - trainable:,}"


def test_a_batch_is_spelt_out_as_it_is_trained(tmp_path: Path, run: Run) -> None:
    write_lines(tmp_path, "train", ["ab", "c d"], ["ab", "c\nd"])
    words = ("--dataset_name", tmp_path, "--eval_split_size", 0, "--report_to", "none")
    code, out, _ = run("train", "--model_name", "tiny-random", *words, "--dry_run", "True")
    assert code == 0
    trained = [line.split("trained")[1].strip() for line in out.splitlines() if line.startswith("  trained ")]
    assert trained == ["a│b│<|user|>│", "c│⏎│d│<|user|>│"]
    assert all("<|image|> x 10│" in line for line in out.splitlines() if line.startswith("  masked "))
    assert re.search(r"2 samples in one row of \d+ tokens: 7 trained, no padding", out)
    _, padded, _ = run("train", "--model_name", "tiny-random", *words, "--dry_run", "True", "--padding_free", "False")
    assert re.search(r"2 x \d+ tokens: 7 trained, 1 padding", padded)


def test_what_a_terminal_would_obey_is_shown_instead() -> None:
    assert visible("a\x1b[31m\r\tb\nc") == "a\\x1b[31m\\r\\tb⏎c"
    assert visible("\u202eä ß 漢\ufffd") == "\\u202eä ß 漢\ufffd"


def test_lengths_are_counted(processor: Any, line_folder: Path) -> None:
    splits = load_splits(DataArguments(str(line_folder)), PromptRenderer(processor), None, 0, evaluate=False)
    text = printed(show_samples, splits, None)
    assert "12 samples to train on, 0 to evaluate on" in text
    assert sum(int(line.split()[3]) for line in text.splitlines() if " to " in line and "█" in line) == 12


def test_images_made_smaller_are_counted_with_the_budget(tiny_random: Path, line_folder: Path) -> None:
    renderer = PromptRenderer(load_processor(tiny_random))
    splits = load_splits(DataArguments(str(line_folder)), renderer, 39, 0, evaluate=False)
    assert splits.fitted.num_lowered > 0
    text = printed(show_samples, splits, 39)
    assert f"max_pixels {splits.fitted.budget.max_pixels}" in text
