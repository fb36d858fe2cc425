"""Several data sets: shares, repeats, what is held out of each, and what leaks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from drawing import WORDS, write_lines

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.mixture import shares_to_counts
from glm_ocr_finetune.data.samples import sample_of
from glm_ocr_finetune.data.splits import Splits, load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer


def load(processor: Any, *sets: Any, evaluate: bool = True, **given: Any) -> Splits:
    return load_splits(DataArguments(list(sets), **given), PromptRenderer(processor), 2048, seed=3, evaluate=evaluate)


def texts(samples: Any) -> list[str]:
    return [sample_of(row).text for row in samples]


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    write_lines(tmp_path / "many", "train", WORDS[:8])
    write_lines(tmp_path / "few", "train", WORDS[8:])
    return str(tmp_path / "many"), str(tmp_path / "few")


@pytest.mark.parametrize(
    ("sizes", "shares", "expected"),
    [
        ([8, 4], [None, None], [8, 4]),
        ([8, 4], [0.5, 0.5], [8, 8]),
        ([8, 4], [2, 1], [8, 4]),
        ([100, 100], [0.7, 0.3], [233, 100]),
        ([10, 1000, 5], [0.1, 0.8, 0.1], [125, 1000, 125]),
    ],
)
def test_no_sample_is_left_out_for_a_share(sizes: list[int], shares: list[float | None], expected: list[int]) -> None:
    assert shares_to_counts(sizes, shares) == expected


def test_all_are_joined_and_the_same_fraction_of_each_is_held_out(processor: Any, two: tuple[str, str]) -> None:
    splits = load(processor, *two, eval_split_size=0.25)
    assert sorted(texts(splits.train) + texts(splits.evaluation)) == sorted(WORDS)
    held = texts(splits.evaluation)
    assert (len(set(held) & set(WORDS[:8])), len(set(held) & set(WORDS[8:]))) == (2, 1)
    assert len(splits.train_tokens) == 9
    assert splits.notes[:2] == [
        f"{two[0]}: 6 samples to train on, 67% of all (6 different)",
        f"{two[1]}: 3 samples to train on, 33% of all (3 different)",
    ]


def test_shares_are_of_samples_and_the_smaller_set_is_repeated(processor: Any, two: tuple[str, str]) -> None:
    splits = load(processor, f"{two[0]}:0.5", f"{two[1]}:0.5", evaluate=False)
    counts = Counter(texts(splits.train))
    assert counts == {**dict.fromkeys(WORDS[:8], 1), **dict.fromkeys(WORDS[8:], 2)}
    assert splits.notes[1] == f"{two[1]}: 8 samples to train on, 50% of all (4 different, each 2 times)"
    lengths = [row["text"] for row in splits.train]
    assert len(lengths) == len(splits.train_tokens) == len(splits.train_image_tokens) == 16


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (100, ("400 samples to train on, 99.01% of all (8 different, each 50 times)", "4 samples to train on, 0.99%")),
        (
            5000,
            (
                "20,000 samples to train on, 99.98% of all (8 different, each 2,500 times)",
                "4 samples to train on, 0.02%",
            ),
        ),
        (5, ("20 samples to train on, 83% of all (8 different, each 2.5 times)", "4 samples to train on, 17%")),
    ],
)
def test_large_and_small_shares_are_said_in_full(
    processor: Any, two: tuple[str, str], share: int, said: tuple[str, str]
) -> None:
    notes = load(processor, f"{two[0]}:{share}", f"{two[1]}:1", evaluate=False).notes
    assert notes[0] == f"{two[0]}: {said[0]}"
    assert notes[1].startswith(f"{two[1]}: {said[1]} of all")


def test_each_has_its_own_prompt_column_and_split(processor: Any, two: tuple[str, str], tmp_path: Path) -> None:
    write_lines(tmp_path / "many", "test", ["nectar"])
    splits = load(
        processor,
        {"dataset_name": two[0], "task": "table", "eval_split": "test"},
        {"dataset_name": two[1], "prompt": "Read this:", "max_samples": 2},
        eval_split_size=0,
    )
    asked = {row["text"]: row["prompt"] for row in splits.train}
    assert asked == dict.fromkeys(WORDS[:8], "Table Recognition:") | dict.fromkeys(WORDS[8:10], "Read this:")
    assert [(row["text"], row["prompt"]) for row in splits.evaluation or ()] == [("nectar", "Table Recognition:")]


def test_what_is_held_out_of_one_is_not_trained_on_from_another(processor: Any, two: tuple[str, str]) -> None:
    splits = load(processor, two[0], {"dataset_name": two[0], "prompt": "Again:"}, eval_split_size=0.25)
    held, trained = set(texts(splits.evaluation)), set(texts(splits.train))
    assert len(held) == 2
    assert not held & trained
    assert held | trained == set(WORDS[:8])


def test_an_evaluation_split_that_was_trained_on_is_told(processor: Any, tmp_path: Path) -> None:
    write_lines(tmp_path, "train", WORDS[:6])
    write_lines(tmp_path, "test", [*WORDS[4:6], "other"])
    splits = load(processor, str(tmp_path), eval_split="test")
    assert splits.notes == [
        "2 of 3 evaluation samples share their image or page with samples that are trained on, which flatters the "
        "scores; the first is test.jsonl:1"
    ]
    write_lines(tmp_path, "test", ["nectar", "other"])
    assert load(processor, str(tmp_path), eval_split="test").notes == []


def test_a_replay_is_neither_evaluated_on_nor_fitted_to(processor: Any, two: tuple[str, str]) -> None:
    splits = load(processor, two[0], replay_dataset=two[1], replay_ratio=0.5, eval_split_size=0.25)
    assert set(texts(splits.evaluation)) <= set(WORDS[:8])
    assert [text in WORDS[8:] for text in texts(splits.train)] == [False] * 6 + [True] * 3
    assert splits.notes[1].startswith(f"replay of {two[1]}: 3 samples to train on, 33% of all")


def test_prompt_and_task_exclude_each_other(processor: Any, two: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="--prompt and --task exclude each other"):
        load(processor, two[0], prompt="Read:", task="table")


def test_sources_tell_the_data_set(processor: Any, two: tuple[str, str]) -> None:
    splits = load(processor, *two, two[0], eval_split_size=0.25)
    sources = [*splits.train["source"], *(splits.evaluation or {"source": []})["source"]]
    assert len(set(sources)) == len(sources) == 20
    assert {source.rpartition("/")[0] for source in sources} == {*two, f"{two[0]} (3)"}
