"""Samples of a data set that is read as a stream: in which order, by which reader, and where a reader stands.

A pass takes the parts of the data set in an order drawn by the seed, deals them out to the readers (the data-loading
workers of all ranks), and mixes rows twice: each reader reads several parts in turn, and shuffles what it reads a block
at a time. A block and not a rolling buffer, because a block can be made again: where a reader stands is told by a few
numbers (where its block began, and how far it has come in it), so a resumed run goes on with exactly the rows that
were due. The buffer of ``datasets`` is not kept in its state and is filled with other rows after a resume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inputs.processor import PixelBudget
from ..inputs.prompt import PromptRenderer
from ..readers.rows import Row
from ..readers.streams import Part, RowStream
from .measure import Rejected, measure_row
from .survey import SetAside, why_not

if TYPE_CHECKING:
    from collections.abc import Set

LANES = 4  # parts that are read in turn, so that neighbours of one part do not stay neighbours
BLOCK_ROWS = 2048
BLOCK_BYTES = 128 << 20  # of encoded images; a block of pages ends here
MANY_PARTS = 32  # for each rank: then a rank that has one part less waits for no more than 3 % of a pass


@dataclass
class Position:
    """Where a reader stands in a pass.

    Attributes:
        lanes: for each lane, (number of its part, rows read of it) at the start of the block.
        block: how many blocks came before.
        row: rows of the block that are done with.
    """

    lanes: list[tuple[int, int]] = field(default_factory=list)
    block: int = 0
    row: int = 0

    def to_list(self) -> list[Any]:
        return [list(map(list, self.lanes)), self.block, self.row]

    @classmethod
    def of(cls, value: Sequence[Any]) -> Position:
        lanes, block, row = value
        return cls([(int(part), int(done)) for part, done in lanes], int(block), int(row))


@dataclass
class Lane:
    """Reads parts one after the other, and every ``stride``-th row of each where readers share them."""

    read: Callable[[Part], Iterator[Row]]
    parts: Sequence[Part]
    stride: int = 1
    offset: int = 0
    part: int = 0
    row: int = 0

    def __post_init__(self) -> None:
        self._rows = self._read_on()

    def next(self) -> Row | None:
        """The next row; None when all parts were read."""
        return next(self._rows, None)

    def _read_on(self) -> Iterator[Row]:
        while self.part < len(self.parts):
            for row in islice(self.read(self.parts[self.part]), self.row, None):
                self.row += 1
                if (self.row - 1) % self.stride == self.offset:
                    yield row
            self.part, self.row = self.part + 1, 0


def in_turn(lanes: Sequence[Lane]) -> Iterator[Row]:
    """A row of each lane in turn, from the first one on, until all have ended."""
    live = list(lanes)
    while live:
        for lane in list(live):
            row = lane.next()
            if row is None:
                live.remove(lane)
            else:
                yield row


@dataclass(frozen=True)
class Reader:
    """One of those that share a pass out: worker ``worker`` of ``num_workers``, on rank ``rank`` of ``num_ranks``."""

    rank: int = 0
    num_ranks: int = 1
    worker: int = 0
    num_workers: int = 1

    def share(self, parts: Sequence[Part]) -> tuple[list[Part], int, int]:
        """(parts, stride, offset): whole parts where there are enough of them, else every n-th row of all.

        Over all readers each row is there once.
        """
        mine, stride, offset = list(parts), 1, 0
        if len(mine) >= (MANY_PARTS * self.num_ranks if self.num_ranks > 1 else 1):
            mine = mine[self.rank :: self.num_ranks]
        else:
            stride, offset = self.num_ranks, self.rank
        if len(mine) >= self.num_workers:
            return mine[self.worker :: self.num_workers], stride, offset
        return mine, stride * self.num_workers, offset + stride * self.worker


@dataclass(frozen=True)
class Batch:
    """Some samples of a reader, what was set aside on the way to them, and where the reader then stands."""

    rows: list[dict[str, Any]]
    set_aside: list[SetAside]
    position: Position


@dataclass(frozen=True)
class Stream:
    """The training samples of a streamed data set.

    Attributes:
        held_out: content keys of the images that are evaluated on, and ``held_groups`` the pages they were cut from;
            rows with either are passed over.
        beside: rows of another split that were set aside before the first step.
    """

    source: RowStream
    renderer: PromptRenderer
    default_prompt: str
    max_length: int | None
    seed: int
    shuffled: bool = True
    held_out: Set[bytes] = frozenset()
    held_groups: Set[str] = frozenset()
    beside: tuple[SetAside, ...] = ()

    def batches(
        self, reader: Reader, number: int, size: int, drop_last: bool = False, position: Position | None = None
    ) -> Iterator[Batch]:
        """What is left of a reader's share of a pass, in batches of ``size`` samples; a last one may have none.

        Args:
            number: of the pass, from 0.
            position: where to go on; None for the beginning.
        """
        rows: list[dict[str, Any]] = []
        aside: list[SetAside] = []
        stands = position
        for row, stands in self._ordered(reader, number, position):
            sample = self._sample(row)
            if isinstance(sample, SetAside):
                aside.append(sample)
            elif sample:
                rows.append(sample)
            if len(rows) == size:
                yield Batch(rows, aside, stands)
                rows, aside = [], []
        if stands and (rows or aside):
            yield Batch([] if drop_last else rows, aside, stands)

    def _ordered(self, reader: Reader, number: int, position: Position | None) -> Iterator[tuple[Row, Position]]:
        """Rows in their order, each with the position behind it."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.source.parts))
        parts = [self.source.parts[i] for i in (order if self.shuffled else range(len(order)))]
        lanes = self._lanes(reader, parts, position)
        first, done = (position.block, position.row) if position else (0, 0)
        consumer = reader.rank * reader.num_workers + reader.worker
        while True:
            start = [(lane.part, lane.row) for lane in lanes]
            block: list[Row | None] = list(_block(in_turn(lanes)))
            if not block:
                return
            rng = np.random.default_rng((self.seed, number, consumer, first))
            drawn = rng.permutation(len(block)).tolist() if self.shuffled else range(len(block))
            for place in range(done, len(block)):
                row, block[drawn[place]] = block[drawn[place]], None  # which holds no image longer than it has to
                if row is not None:
                    yield row, Position(start, first, place + 1)
            first, done = first + 1, 0

    def _lanes(self, reader: Reader, parts: Sequence[Part], position: Position | None) -> list[Lane]:
        mine, stride, offset = reader.share(parts)
        count = min(LANES, len(mine)) if self.shuffled else 1
        begun = position.lanes if position else [(0, 0)] * count
        return [
            Lane(self.source.read, mine[lane::count], stride, offset, *begun[lane]) for lane in range(count) if mine
        ]

    def _sample(self, row: Row) -> dict[str, Any] | SetAside | None:
        """The sample of a row, as a split has it; why it cannot be used; None where it is held out."""
        try:
            (height, width), key, text_tokens = measure_row(row, self.renderer, self.default_prompt)
        except Rejected as rejected:
            return SetAside(row["source"], rejected.reason, rejected.detail)
        if key in self.held_out or row["group"] in self.held_groups:
            return None
        budget = PixelBudget.of(self.renderer.processor)
        if why := why_not(height, width, text_tokens, budget, self.max_length):
            return SetAside(row["source"], *why)
        prompt = row["prompt"] or self.default_prompt
        return {**row, "prompt": prompt, "height": height, "width": width, "key": key}


def _block(rows: Iterator[Row]) -> Iterator[Row]:
    """The next rows, as many as are shuffled together."""
    size = 0
    for row in islice(rows, BLOCK_ROWS):
        yield row
        size += len((row["image"] or {}).get("bytes") or b"")
        if size >= BLOCK_BYTES:
            return
