"""The automatic split: seeded, the same everywhere, identical images on one side."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from glm_ocr_finetune.data.split import joined, split_rows
from glm_ocr_finetune.errors import UserError


def keys(count: int) -> list[bytes]:
    return [index.to_bytes(16, "big") for index in range(count)]


@pytest.mark.parametrize(("count", "fraction"), [(2, 0.01), (2, 0.99), (10, 0.1), (1000, 0.1), (1000, 0.999)])
def test_every_row_is_on_one_side(count: int, fraction: float) -> None:
    train, evaluation = split_rows(keys(count), fraction, 0)
    assert train.dtype == evaluation.dtype == np.int64
    assert sorted([*train, *evaluation]) == list(range(count))
    assert list(train) == sorted(train)
    assert list(evaluation) == sorted(evaluation)
    assert len(evaluation) == min(max(1, round(fraction * count)), count - 1)


def test_identical_images_stay_together() -> None:
    doubled = keys(50) * 2 + keys(5) * 10
    train, evaluation = split_rows(doubled, 0.2, 3)
    assert not {doubled[row] for row in train} & {doubled[row] for row in evaluation}
    assert 0 < len(evaluation) <= 30


@pytest.mark.parametrize("seed", range(20))
def test_a_large_group_does_not_become_the_evaluation_side(seed: int) -> None:
    train, evaluation = split_rows([b"same"] * 98 + [b"a", b"b"], 0.01, seed)
    assert len(train) == 99
    assert evaluation[0] >= 98


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (split_rows(keys(100), 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_order_of_rows_does_not_matter() -> None:
    forward, backward = keys(100), keys(100)[::-1]
    chosen = {forward[row] for row in split_rows(forward, 0.2, 1)[1]}
    assert chosen == {backward[row] for row in split_rows(backward, 0.2, 1)[1]}


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_other_processes_agree(hash_seed: str) -> None:
    code = (
        "from glm_ocr_finetune.data.split import split_rows;"
        "print(split_rows([bytes([i]) for i in range(60)], 0.1, 7)[1].tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(split_rows([bytes([i]) for i in range(60)], 0.1, 7)[1].tolist())


@pytest.mark.parametrize(("rows", "fraction"), [([], 0.5), ([b"a"], 0.5), ([b"a"] * 9, 0.5), (keys(9), 0.0)])
def test_no_evaluation_side(rows: list[bytes], fraction: float) -> None:
    train, evaluation = split_rows(rows, fraction, 0)
    assert (len(train), len(evaluation)) == (len(rows), 0)


@pytest.mark.parametrize("fraction", [1.5, 1.0, -0.1, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(UserError, match="--eval_split_size is"):
        split_rows(keys(3), fraction, 0)


def test_rows_that_share_an_image_or_a_page_are_joined() -> None:
    keys = [b"a", b"b", b"c", b"a", b"d", b"e"]
    groups = ["page 1", "page 1", "page 2", "page 2", None, None]
    found = joined(keys, groups)
    assert len(set(found[:4])) == 1  # page 1 and page 2 hold the same image
    assert len(set(found)) == 3
    assert joined([b"x", b"y"], [None, None]) == [b"x", b"y"]


def test_lines_of_a_page_stay_on_one_side() -> None:
    keys = [bytes([number]) for number in range(60)]
    groups = [f"page {number // 6}" for number in range(60)]
    train, held_out = split_rows(joined(keys, groups), 0.2, seed=1)
    assert not {groups[row] for row in train} & {groups[row] for row in held_out}
    assert len(held_out) == 12
