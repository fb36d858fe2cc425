"""Progress in one line: how long is left by a clock of our own, plain lines in a file, one live line on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from glm_ocr_finetune.progress import MOST_MARKS, PLAIN_S, Line, Pace, duration, on_a_terminal, progress, track

CLONE = Path(__file__).parents[1]


class Clock:
    """Seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pace_after(seconds: list[float], total: int, done: int = 0) -> Pace:
    """The pace of something whose units took so long, one after the other."""
    clock = Clock()
    pace = Pace(total, done, clock)
    for index, taken in enumerate(seconds, start=done + 1):
        clock.now += taken
        pace.mark(index)
    return pace


@pytest.mark.parametrize(
    ("seconds", "total", "done", "left"),
    [
        ([], 10, 0, None),
        ([2.0], 10, 0, 18.0),
        ([2.0] * 4, 10, 0, 12.0),
        ([30.0, 2.0, 2.0, 2.0], 10, 0, 12.0),  # a beginning that is slow does not count for ever
        ([2.0] * 4, 1010, 1000, 12.0),  # what an earlier sitting did took this one no time
        ([2.0] * 10, 10, 0, 0.0),
    ],
)
def test_what_is_left_goes_by_the_later_half(seconds: list[float], total: int, done: int, left: float | None) -> None:
    assert pace_after(seconds, total, done).left_s == (None if left is None else pytest.approx(left))


def test_a_long_run_keeps_few_marks() -> None:
    pace = pace_after([0.5] * 20_000, 30_000)
    assert len(pace.marks) <= MOST_MARKS + 1
    assert pace.left_s == pytest.approx(5000.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (40.4, "40 s"),
        (65, "1 min 5 s"),
        (599, "9 min 59 s"),
        (749, "12 min"),
        (3 * 3600 + 20 * 60 + 29, "3 h 20 min"),
        (7200, "2 h"),
        (51 * 3600 + 100, "2 days 3 h"),
        (86_399, "1 day"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_in_a_file_a_plain_line_is_written_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = Clock()
    line = Line("reading", "pages", Pace(1000, 0, clock), live=False, plain=True)
    for done in range(1, 101):
        clock.now += 1.0
        line.at(done)
    assert PLAIN_S == 30
    assert [record.getMessage() for record in caplog.records] == [
        "reading: 30 of 1,000 pages  16 min left",
        "reading: 60 of 1,000 pages  16 min left",
        "reading: 90 of 1,000 pages  15 min left",
    ]


def test_what_is_not_shown_says_nothing_and_still_counts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert list(track(iter("abc"), "reading", 3, "images", shown=False)) == ["a", "b", "c"]
    with progress("reading", 5, "pages", done=2, shown=False) as line:
        line.advance()
        assert (line.pace.done, line.live, line.plain) == (3, False, False)
    assert not caplog.records


def test_another_rank_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with progress("reading", 5, "pages") as line:
        assert not line.plain


PROGRAM = """
import logging, time
from glm_ocr_finetune.messages import speak
from glm_ocr_finetune.progress import progress, track
speak()
log = logging.getLogger("glm_ocr_finetune.test")
try:
    with progress("training", 3, "steps") as line:
        for step in (1, 2, 3):
            time.sleep(0.15)
            line.at(step)
            log.info("step %d %s", step, "and a path that is longer than the terminal is wide " * 3)
            for _ in track("ab", "reading", 2, "images"):
                time.sleep(0.11)
            print("text", step)
            if step == 2:
                raise ValueError("in the middle")
except ValueError:
    log.info("after it")
"""


def run_on_a_terminal(term: str = "xterm") -> tuple[str, str]:
    """Standard output, which is a pipe, and standard error, which is a terminal, of the program above."""
    master, slave = pty.openpty()
    env = os.environ | {"TERM": term, "PYTHONPATH": str(CLONE), "COLUMNS": "60"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=slave, env=env, check=True)
    os.close(slave)
    shown = os.read(master, 1_000_000).decode()
    os.close(master)
    return done.stdout.decode(), shown


def test_on_a_terminal_one_line_is_drawn_and_messages_stay_whole() -> None:
    out, shown = run_on_a_terminal()
    assert out == "text 1\ntext 2\n"  # what is piped is not the terminal's
    long = "and a path that is longer than the terminal is wide " * 3
    for step in (1, 2):
        assert f"step {step} {long}" in shown.replace("\r\n", "\n")
    assert "1 of 3 steps" in shown
    assert "2 of 2 images" in shown
    # what follows the last message is not drawn over, and the cursor is there again, though it ended in an exception
    assert shown.endswith("after it\r\n")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_on_a_terminal_that_cannot_draw_there_are_plain_lines() -> None:
    _, shown = run_on_a_terminal("dumb")
    assert "\x1b" not in shown
    assert "of 3 steps" not in shown  # half a second is too short for a plain line
    assert shown.count("step ") == 2


def test_a_file_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert not on_a_terminal()
