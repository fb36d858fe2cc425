"""Batches follow the memory that is free, whatever the lengths are."""

from __future__ import annotations

from typing import Any

import psutil
import pytest

from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.reading.room import MOST_ROWS, Room, room_for, rows_for

GIGABYTE = 10**9


def room(free: float, most: int = 256) -> Room:
    """For a model of GLM-OCR's shape in bf16: 98 kB of cache and 74 kB of work for each token."""
    return Room(free, cached=98_304, working=74_000, masked=2, most=most)


@pytest.mark.parametrize(
    ("gigabytes", "tokens", "answer", "rows"),
    [(8, 330, 8192, 30), (8, 330, 100, 119), (8, 7000, 2048, 5), (1, 7000, 2048, 1), (64, 7000, 2048, 42)],
)
def test_rows_of_the_real_model(gigabytes: float, tokens: int, answer: int, rows: int) -> None:
    assert room(gigabytes * GIGABYTE).rows(tokens, answer) == rows


def test_there_is_always_one_row_and_never_more_than_the_most() -> None:
    assert room(1).rows(100_000, 100_000) == 1
    assert room(1e15, most=64).rows(10, 10) == 64
    assert room(1e15, most=64).rows(0, 0) == 64


@pytest.fixture(scope="module")
def tiny() -> Any:
    return load_weights("tiny-random", device_map="cpu")


def test_the_room_on_a_cpu_is_at_most_half_of_what_is_available(tiny: Any) -> None:
    found = room_for(tiny)
    assert found.most == MOST_ROWS["cpu"]
    assert found.free.is_integer()
    assert int(found.free).bit_count() == 1, "a power of two, so that it is the same in the next run"
    assert found.free <= 0.55 * psutil.virtual_memory().available


def test_the_cache_is_counted_as_the_model_makes_it(tiny: Any) -> None:
    """Keys and values of one token, measured on the model's own cache."""
    import torch

    output = tiny(input_ids=torch.ones(1, 16, dtype=torch.long), use_cache=True)
    layers = output.past_key_values.layers
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    assert room_for(tiny).cached == pytest.approx(1.5 * held / 16)


def test_a_batch_size_that_is_given_stands(tiny: Any) -> None:
    assert rows_for(tiny, 7)(100_000, 100_000) == 7
    assert rows_for(tiny, None)(300, 100) == MOST_ROWS["cpu"]
