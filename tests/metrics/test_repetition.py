from __future__ import annotations

import time

import pytest

from glm_ocr_finetune.metrics import ends_in_loop

SENTENCE = "The quick brown fox jumps over it. "


@pytest.mark.parametrize(
    "prediction",
    [
        "Total 12 " + "a" * 21,
        "Total " + "ab" * 10,
        "Total " + "ab" * 10 + "a",
        "Intro. " + SENTENCE * 4,
        "Intro. " + SENTENCE * 6 + SENTENCE[:11],
        "<table>" + "<tr><td></td><td></td></tr>\n" * 8,
        "text" + "\n" * 30,
        "x" * 40 + "\n",
        "ខ្មែ" * 8,
    ],
)
def test_loops(prediction: str) -> None:
    assert ends_in_loop(prediction, "Total 12 Intro.")


@pytest.mark.parametrize(
    "prediction",
    ["", "a", "aaaa", "Total " + "a" * 19, "Intro. " + SENTENCE * 3, "a" * 50 + " then it goes on", "no no no no no"],
)
def test_no_loops(prediction: str) -> None:
    assert not ends_in_loop(prediction)


def test_what_the_truth_repeats_is_no_loop() -> None:
    leaders = "Chapter 1 " + "." * 60
    assert ends_in_loop(leaders)
    assert not ends_in_loop(leaders, leaders + " 7")
    assert not ends_in_loop(leaders + "." * 19, leaders)
    assert ends_in_loop(leaders + "." * 20, leaders)


def test_time_is_linear() -> None:
    start = time.perf_counter()
    for text in ("ab" * 200_000, "a" * 400_000 + "b", "ab" * 200_000 + "c" * 10):
        ends_in_loop(text, text[: len(text) // 2])
    assert time.perf_counter() - start < 5
