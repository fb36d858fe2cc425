"""Every name that is none leads to one that is: those of other tools, misspellings, those of other commands."""

from __future__ import annotations

import pytest

from glm_ocr_finetune.cli import LIGHT
from glm_ocr_finetune.near_misses import ELSEWHERE, suggestion
from glm_ocr_finetune.parse import Option, options, train_options

COMMANDS: dict[str, list[Option]] = {"train": train_options()} | {name: options(one) for name, one in LIGHT.items()}
NAMES = {
    command: [name for one in declared for name in (one.name, *one.also)] for command, declared in COMMANDS.items()
}


def said(command: str, typed: str) -> str:
    return suggestion(typed, NAMES[command], {name: names for name, names in NAMES.items() if name != command})


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("train", "lr", "; did you mean --learning_rate?"),
        ("train", "batch_size", "; did you mean --per_device_train_batch_size?"),
        ("train", "dataset", "; did you mean --dataset_name?"),
        ("train", "group_by_length", "; did you mean --train_sampling_strategy group_by_length?"),
        ("train", "rank", "; did you mean --lora_rank?"),
        ("train", "cutoff_len", "; did you mean --max_length?"),
        ("evaluate", "dataset", "; did you mean --dataset_name?"),
        ("evaluate", "per_device_eval_batch_size", "; did you mean --batch_size?"),
        ("evaluate", "checkpoint", "; did you mean --model?"),
        ("infer", "images", "; did you mean --image?"),
        ("infer", "dataset", "; did you mean --dataset_name?"),
        ("infer", "learning_rate", "; it is an argument of: train"),
        ("report", "run_dir", "; did you mean --run?"),
        ("demo", "outputdir", "; did you mean --output_dir?"),
        ("train", "xyzzy", ""),
    ],
)
def test_what_was_meant(command: str, typed: str, meant: str) -> None:
    assert said(command, typed) == meant


def test_names_of_other_tools_lead_to_arguments_that_exist() -> None:
    known = {name for names in NAMES.values() for name in names}
    assert {word.split()[0] for meant in ELSEWHERE.values() for word in meant} <= known


def test_a_name_of_another_tool_that_every_command_knows_is_no_near_miss() -> None:
    assert not [name for name in ELSEWHERE if all(name in names for names in NAMES.values())]


@pytest.mark.parametrize("command", COMMANDS)
def test_one_letter_too_few_is_found_for_every_argument(command: str) -> None:
    lost = []
    for name in NAMES[command]:
        typed = name[: len(name) // 2] + name[len(name) // 2 + 1 :]
        if typed not in NAMES[command] and f"--{name}" not in said(command, typed):
            lost.append((typed, name, said(command, typed)))
    assert not lost
