"""Reading as many scans as there are into a folder: resumable, in shares, with any engine."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..folders import JOURNALS_FOLDER, RESULTS_FILE
from ..inputs.images import ImageError, read_size
from ..inputs.processor import PixelBudget
from ..inputs.prompt import PromptRenderer
from ..progress import progress
from ..vision.pixels import Pixels, image_to_pixels
from .generate import Request, generate_all
from .journal import Journal, merge
from .loops import is_loop
from .results import Answer, line_of
from .scans import Scan, shard, shard_of

if TYPE_CHECKING:
    from .speculative import Speculation

logger = logging.getLogger(__name__)

WINDOW = 256  # scans that are sorted by length together
SHOWN = 5  # slowest pages and failures in the summary

Answers = Iterator["tuple[Scan, Answer | Exception]"]
Engine = Callable[[Iterator[Scan]], Answers]


@dataclass
class Tally:
    """What a reading came to: how many were read, stopped, looped and failed, and which took longest."""

    read: int = 0
    stopped: int = 0
    looped: int = 0
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def add(self, scan: Scan, answer: Answer | Exception) -> None:
        if isinstance(answer, Exception):
            self.failed += 1
            if len(self.failures) < SHOWN:
                self.failures.append(str(answer) if scan.id in str(answer) else f"{scan.id}: {answer}")
            return
        self.read += 1
        self.stopped += answer.stopped
        self.looped += answer.looped
        (heapq.heappush if len(self.slowest) < SHOWN else heapq.heappushpop)(self.slowest, (answer.seconds, scan.id))

    def lines(self, seconds: float) -> list[str]:
        """The summary, for the log."""
        if not self.read + self.failed:
            return ["nothing was left to read"]
        pace = self.read / seconds if seconds else 0.0
        lines = [f"read {self.read:,} in {seconds:,.0f} s ({pace:.2f} a second), {self.failed:,} could not be read"]
        if self.read:
            lines.append(f"stopped by themselves: {self.stopped / self.read:.1%}; ended as loops: {self.looped:,}")
            slowest = ", ".join(f"{name} ({taken:.1f} s)" for taken, name in sorted(self.slowest, reverse=True))
            lines.append(f"slowest: {slowest}")
        return [*lines, *(f"failed: {failure}" for failure in self.failures)]


def read_into(
    folder: Path,
    scans: Callable[[], Iterable[Scan]],
    engine: Engine,
    part: str | None,
    retry_failed: bool,
    model: str,
    prompt: str,
) -> tuple[Tally, bool]:
    """Read what is not yet read, and merge all results in their order once all are there.

    Args:
        scans: gives all scans, the same ones in the same order each time.
        part: ``k/n``, the share of this process; each share has a journal of its own.

    Returns:
        What was read now, and whether all shares are complete.
    """
    number, count = shard_of(part)
    journals = folder / JOURNALS_FOLDER
    start, tally = time.monotonic(), Tally()
    with Journal(journals / f"{number}-of-{count}.jsonl", retry_failed) as journal:
        journal.skip(journals.glob("*.jsonl"))
        total = sum(1 for _ in shard(scans(), part))
        with progress("reading", total, "pages", done=min(total, len(journal.done))) as shown:
            left = (scan for scan in shard(scans(), part) if scan.id not in journal.done)
            for scan, answer in engine(left):
                journal.append(line_of(scan, answer, model, prompt))
                tally.add(scan, answer)
                shown.advance()
    for line in tally.lines(time.monotonic() - start):
        logger.info("%s", line)
    merged, missing = merge(sorted(journals.glob("*.jsonl")), (scan.id for scan in scans()), folder / RESULTS_FILE)
    if missing:
        logger.info(
            "%s of %s are not read yet, by other shares or runs", f"{len(missing):,}", f"{merged + len(missing):,}"
        )
    return tally, not missing


def in_this_process(
    model: Any,
    renderer: PromptRenderer,
    prompt: str,
    max_new_tokens: int,
    batch_size: int | None = None,
    repetition_penalty: float = 1.0,
    stop_loops: bool = True,
    speculation: Speculation | None = None,
) -> Engine:
    """The engine of this process: scans in batches of like length, some hundreds of them looked ahead."""

    def engine(scans: Iterator[Scan]) -> Answers:
        while window := list(islice(scans, WINDOW)):
            started: dict[int, float] = {}
            requests: list[Request] = []
            placed: list[Scan] = []
            for scan in window:
                try:
                    tokens = PixelBudget.of(renderer.processor).num_image_tokens(*_size(scan))
                except ImageError as error:
                    yield scan, error
                    continue
                load = _Loading(scan, renderer, started, len(placed))
                requests.append(Request(load, scan.prompt or prompt, tokens, max_new_tokens))
                placed.append(scan)
            answers = generate_all(
                model, renderer, requests, batch_size, repetition_penalty, None, stop_loops, speculation
            )
            for position, answer in answers:
                if isinstance(answer, ImageError):
                    yield placed[position], answer
                    continue
                seconds = time.monotonic() - started[position]
                looped = not answer.stopped and is_loop(answer.token_ids)
                num_tokens = len(answer.token_ids) + answer.stopped
                yield placed[position], Answer(answer.text, answer.stopped, looped, num_tokens, seconds)
        if speculation:
            logger.info("%s", speculation)

    return engine


@dataclass(frozen=True)
class _Loading:
    """Makes the pixels of a scan when its batch is due, and notes when that was."""

    scan: Scan
    renderer: PromptRenderer
    started: dict[int, float]
    position: int

    def __call__(self) -> Pixels:
        self.started[self.position] = time.monotonic()
        return image_to_pixels(self.scan.open(), self.renderer.processor, PixelBudget.of(self.renderer.processor))


def _size(scan: Scan) -> tuple[int, int]:
    if scan.problem:
        raise ImageError("unreadable_image", scan.problem)
    if scan.frame:
        width, height = scan.open().size
        return height, width
    return read_size(scan.image)
