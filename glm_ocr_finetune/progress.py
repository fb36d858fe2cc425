"""Progress a person can read: one live line on a terminal; elsewhere a plain line now and then."""

from __future__ import annotations

import bisect
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from .ranks import is_main_process

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

logger = logging.getLogger(__name__)

T = TypeVar("T")

REDRAWN_S, PLAIN_S = 0.1, 30.0  # seconds between two drawings of the live line, and between two plain lines
MOST_MARKS = 1000
BAR_WIDTH = 20  # columns
UNITS = (("day", 86_400), ("h", 3600), ("min", 60), ("s", 1))


class Pace:
    """How long the rest takes, by the pace of the later half of what is done: beginnings are slow.

    Args:
        total: what there is to do, in any unit.
        done: how much of it was done before.
        clock: seconds, of any origin.
    """

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done, self.clock = total, done, clock
        self.marks = [(done, clock())]

    def mark(self, done: int) -> None:
        """Note that so much is done now."""
        self.done = done
        self.marks.append((done, self.clock()))
        if len(self.marks) > MOST_MARKS:
            self.marks = [*self.marks[:-1:2], self.marks[-1]]

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self.marks[0][1]

    @property
    def left_s(self) -> float | None:
        """Seconds until everything is done; None while nothing was."""
        half = (self.marks[0][0] + self.done) / 2
        began, start = self.marks[max(bisect.bisect_right(self.marks, half, key=lambda mark: mark[0]) - 1, 0)]
        if self.done == began:
            return None
        return (self.total - self.done) * (self.marks[-1][1] - start) / (self.done - began)


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h 20 min, 2 days 3 h."""
    seconds = max(round(seconds), 0)
    step = 60 if 600 <= seconds < 86_400 else 3600 if seconds >= 86_400 else 1  # nobody counts seconds of hours
    seconds = round(seconds / step) * step
    parts = []
    for unit, size in UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}")
    return " ".join(parts[:2]) or "0 s"


class Line:
    """One thing that goes on; made by :func:`progress`.

    Args:
        what: in one word: training, reading.
        unit: what is counted, in the plural.
        live: whether it is drawn on the terminal.
        plain: whether a plain line is written now and then where nothing is drawn.
    """

    def __init__(self, what: str, unit: str, pace: Pace, live: bool, plain: bool) -> None:
        self.what, self.unit, self.pace, self.live, self.plain = what, unit, pace, live, plain
        self.note = ""
        self._said = self._drawn = pace.clock()

    def at(self, done: int) -> None:
        """So much is done now."""
        self.pace.mark(done)
        self.show()

    def advance(self, by: int = 1) -> None:
        self.at(self.pace.done + by)

    def show(self) -> None:
        """Draw or write the line, where it is time to."""
        now = self.pace.clock()
        if self.live and now - self._drawn >= REDRAWN_S:
            self._drawn = now
            _screen.draw()
        elif self.plain and self.is_due():
            logger.info("%s: %s", self.what, self.counted())
            self.was_said()

    def is_due(self) -> bool:
        """Whether nothing is drawn and nothing was said of it for a while."""
        return not self.live and self.pace.clock() - self._said >= PLAIN_S

    def was_said(self) -> None:
        """Something is said of it at this moment."""
        self._said = self.pace.clock()

    def counted(self) -> str:
        """57 of 120 steps  NOTE  40 s left"""
        left = self.pace.left_s if self.pace.done < self.pace.total else None
        parts = [f"{self.pace.done:,} of {self.pace.total:,} {self.unit}", self.note]
        parts += [] if left is None else [f"{duration(left)} left"]
        return "  ".join(part for part in parts if part)


class _Screen:
    """The one live line of the terminal: that of the innermost thing that goes on."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.live: Live | None = None

    def push(self, line: Line) -> None:
        self.lines.append(line)
        if self.live is None:
            self.live = _new_live(self._drawing)
            self.live.start()
        self.draw()

    def pop(self, line: Line) -> None:
        self.lines.remove(line)
        if self.live and not self.lines:
            self.live.stop()
            self.live = None
        self.draw()

    def draw(self) -> None:
        if self.live:
            self.live.refresh()

    def _drawing(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Column, Table

        if not self.lines:
            return ""
        line = self.lines[-1]
        table = Table.grid(Column(no_wrap=True), Column(width=BAR_WIDTH), Column(no_wrap=True), padding=(0, 1))
        table.add_row(line.what, ProgressBar(line.pace.total or 1, line.pace.done, BAR_WIDTH), line.counted())
        return table


_screen = _Screen()


def _new_live(drawing: Callable[[], RenderableType]) -> Live:
    """A live line on standard error, under which messages scroll by; without a thread, so that workers can fork."""
    from rich.console import Console
    from rich.live import Live

    return Live(
        console=Console(stderr=True, highlight=False, soft_wrap=True),
        get_renderable=drawing,
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what is piped elsewhere goes there
    )


def on_a_terminal() -> bool:
    """Whether standard error is a terminal on which a line can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"


@contextlib.contextmanager
def progress(
    what: str,
    total: int,
    unit: str,
    done: int = 0,
    shown: bool = True,
    live: bool = True,
    plain: bool = True,
) -> Iterator[Line]:
    """A line for as long as something goes on; none where it is not shown, nor on other ranks than the first.

    Args:
        live: draw it where there is a terminal.
        plain: write a line now and then where nothing is drawn.
    """
    shown = shown and is_main_process()
    drawn = shown and live and on_a_terminal()
    line = Line(what, unit, Pace(total, done), drawn, shown and plain)
    if drawn:
        _screen.push(line)
    try:
        yield line
    finally:
        if drawn:
            _screen.pop(line)


def track(items: Iterable[T], what: str, total: int, unit: str, shown: bool = True) -> Iterator[T]:
    """The items, with a line that counts those that were handed on and dealt with."""
    with progress(what, total, unit, shown=shown) as line:
        for item in items:
            yield item
            line.advance()
