"""The automatic split: seeded, the same everywhere, identical images on one side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from glm_ocr_finetune.data.split import joined, split_rows
from glm_ocr_finetune.errors import UserError


def of(names: Sequence[bytes]) -> NDArray[np.uint8]:
    """Keys of 16 bytes that begin with these."""
    return np.frombuffer(b"".join(name.ljust(16, b".") for name in names), np.uint8).reshape(-1, 16)


def keys(count: int) -> NDArray[np.uint8]:
    return of([index.to_bytes(16, "big") for index in range(count)])


def named(found: NDArray[np.uint8]) -> list[bytes]:
    return [key.tobytes() for key in found]


@pytest.mark.parametrize(("count", "fraction"), [(2, 0.01), (2, 0.99), (10, 0.1), (1000, 0.1), (1000, 0.999)])
def test_every_row_is_on_one_side(count: int, fraction: float) -> None:
    train, evaluation = split_rows(keys(count), fraction, 0)
    assert train.dtype == evaluation.dtype == np.int64
    assert sorted([*train, *evaluation]) == list(range(count))
    assert list(train) == sorted(train)
    assert list(evaluation) == sorted(evaluation)
    assert len(evaluation) == min(max(1, round(fraction * count)), count - 1)


def test_identical_images_stay_together() -> None:
    doubled = np.concatenate([keys(50)] * 2 + [keys(5)] * 10)
    train, evaluation = split_rows(doubled, 0.2, 3)
    assert not set(named(doubled[train])) & set(named(doubled[evaluation]))
    assert 0 < len(evaluation) <= 30


@pytest.mark.parametrize("seed", range(20))
def test_a_large_group_does_not_become_the_evaluation_side(seed: int) -> None:
    train, evaluation = split_rows(of([b"same"] * 98 + [b"a", b"b"]), 0.01, seed)
    assert len(train) == 99
    assert evaluation[0] >= 98


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (split_rows(keys(100), 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_order_of_rows_does_not_matter() -> None:
    forward, backward = keys(100), keys(100)[::-1]
    chosen = set(named(forward[split_rows(forward, 0.2, 1)[1]]))
    assert chosen == set(named(backward[split_rows(backward, 0.2, 1)[1]]))


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_other_processes_agree(hash_seed: str) -> None:
    code = (
        "from glm_ocr_finetune.data.split import split_rows;"
        "import numpy as np;"
        "print(split_rows(np.arange(960, dtype='u8').astype('u1').reshape(60, 16), 0.1, 7)[1].tolist())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(split_rows(np.arange(960).astype("u1").reshape(60, 16), 0.1, 7)[1].tolist())


@pytest.mark.parametrize(
    ("rows", "fraction"), [(of([]), 0.5), (of([b"a"]), 0.5), (of([b"a"] * 9), 0.5), (keys(9), 0.0)]
)
def test_no_evaluation_side(rows: NDArray[np.uint8], fraction: float) -> None:
    train, evaluation = split_rows(rows, fraction, 0)
    assert (len(train), len(evaluation)) == (len(rows), 0)


@pytest.mark.parametrize("fraction", [1.5, 1.0, -0.1, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(UserError, match="--eval_split_size is"):
        split_rows(keys(3), fraction, 0)


def test_rows_that_share_an_image_or_a_page_are_joined() -> None:
    groups = pa.array(["page 1", "page 1", "page 2", "page 2", None, None])
    found = named(joined(of([b"a", b"b", b"c", b"a", b"d", b"e"]), groups))
    assert len(set(found[:4])) == 1  # page 1 and page 2 hold the same image
    assert len(set(found)) == 3
    alone = of([b"x", b"y"])
    assert named(joined(alone, pa.nulls(2, pa.string()))) == named(alone)


def test_joining_is_what_walking_from_row_to_row_finds() -> None:
    rng = np.random.default_rng(0)
    names = [f"{number:016d}".encode() for number in rng.integers(0, 60, 200)]
    groups = [f"g{number}" if number < 40 else None for number in rng.integers(0, 55, 200)]
    found = named(joined(of(names), pa.array(groups)))
    for start in range(200):
        reached, ahead = {start}, [start]
        while ahead:
            row = ahead.pop()
            for other in range(200):
                shares = names[other] == names[row] or (groups[other] is not None and groups[other] == groups[row])
                if shares and other not in reached:
                    reached.add(other)
                    ahead.append(other)
        assert reached == {row for row in range(200) if found[row] == found[start]}


def test_lines_of_a_page_stay_on_one_side() -> None:
    groups = [f"page {number // 6}" for number in range(60)]
    train, held_out = split_rows(joined(keys(60), pa.array(groups)), 0.2, seed=1)
    assert not {groups[row] for row in train} & {groups[row] for row in held_out}
    assert len(held_out) == 12


def test_the_split_is_the_one_that_it_always_was() -> None:
    """The order of 16-byte keys under seed 3, as the first version of this package drew it."""
    digests = {row: blake2b(b"3:" + key, digest_size=16).digest() for row, key in enumerate(named(keys(200)))}
    assert split_rows(keys(200), 0.1, 3)[1].tolist() == sorted(sorted(digests, key=digests.__getitem__)[:20])
