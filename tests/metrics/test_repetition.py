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
        "der der der der",
        "Intro. der der der der",
        "Intro. der der der der de",
        "Intro. der der\nder  der\n",
        "no no no no no",
        "на на на на",
        "في في في في",
        "中国中国中国中国",
        "हाँ हाँ हाँ हाँ",
        "derderderder",
        "Total Total Total Total",
        "<td>der</td>" * 4,
        "<td>der</td>" * 4 + "<td>de",
        "<td></td><td>der</td>" * 4 + "<t",
    ],
)
def test_loops(prediction: str) -> None:
    assert ends_in_loop(prediction, "Total 12 Intro.")


@pytest.mark.parametrize(
    "prediction",
    [
        "",
        "a",
        "aaaa",
        "aaaaaaaa",
        "Total " + "a" * 19,
        "Intro. " + SENTENCE * 3,
        "a" * 50 + " then it goes on",
        "der der der",
        "ha ha",
        "Chapter 1 ........",
        "Chapter 1 . . . . . . .",
        "Sum --------",
        "Sum - - - - - -",
        "0.0 0.0 0.0 0.0",
        "1,000,000,000,000",
        "x x x x x",
        "MCMXVIIII",
        "a\u0303 " * 4,
        "de der des dem den",
        "<td></td>" * 2,
        "<table><tr>" + "<td></td>" * 4 + "</tr></table>",
        "<table><tr>" + "<td>yes</td>" * 6 + "</tr></table>",
        r"a & \\ \\ \\ \\",
    ],
)
def test_no_loops(prediction: str) -> None:
    assert not ends_in_loop(prediction)


@pytest.mark.parametrize(
    ("truth", "prediction", "loops"),
    [
        ("Haus der Kunst", "Haus der der der der", True),
        ("oder der Kunst", "oder der der der der", True),
        ("ha ha", "ha ha ha ha", False),
        ("ha ha ha", "ha ha ha ha", False),
        ("ha ha", "ha ha ha ha ha", True),
        ("ditto\nditto\nditto\nditto", "ditto ditto ditto ditto", False),
        ("<td></td>" * 2, "<td></td>" * 4, False),
        ("<td></td>" * 2, "<td></td>" * 5, True),
        (". " * 10, ". " * 19, False),
        ("", "und so weiter " * 4, True),
        ("abc " + "." * 60, ("abc " + "." * 60) * 4, True),
    ],
)
def test_only_what_goes_beyond_the_truth_is_a_loop(truth: str, prediction: str, loops: bool) -> None:
    assert ends_in_loop(prediction, truth) is loops


def test_what_the_truth_repeats_is_no_loop() -> None:
    leaders = "Chapter 1 " + "." * 60
    assert ends_in_loop(leaders)
    assert not ends_in_loop(leaders, leaders + " 7")
    assert not ends_in_loop(leaders + "." * 19, leaders)
    assert ends_in_loop(leaders + "." * 20, leaders)


def test_time_is_linear() -> None:
    start = time.process_time()
    for text in ("ab" * 200_000, "a" * 400_000 + "b", "ab" * 200_000 + "c" * 10, "der " * 100_000):
        ends_in_loop(text, text[: len(text) // 2])
        ends_in_loop(text, text)
    assert time.process_time() - start < 5
