"""The order of a stream: each row once a pass over all readers, and the same rows again from any place in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from streamed import BAD, write_parquet

from glm_ocr_finetune.data import stream as module
from glm_ocr_finetune.data.stream import MANY_PARTS, Position, Reader, Stream
from glm_ocr_finetune.data.survey import SetAside
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.readers import load_stream
from glm_ocr_finetune.readers.rows import ReadOptions, Row, make_row
from glm_ocr_finetune.readers.streams import Part


@dataclass(frozen=True)
class Numbers:
    """Parts of rows that are their numbers."""

    parts: tuple[Part, ...]

    def read(self, part: Part) -> Iterator[Row]:
        first = part.first or 0
        yield from (make_row(str(row), {"bytes": b"x", "path": None}, "x") for row in range(first, first + part.rows))


def numbers(parts: int, rows: int = 7) -> Numbers:
    return Numbers(tuple(Part("f", None, part * rows, rows) for part in range(parts)))


class Plain(Stream):
    """A stream whose samples are not looked at."""

    def _sample(self, row: Row) -> dict[str, Any] | SetAside | None:
        return dict(row)


def plain(source: Any, **changes: Any) -> Stream:
    return Plain(source, None, "", None, seed=3, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 10)


def sources(batches: Any) -> list[str]:
    return [row["source"] for batch in batches for row in batch.rows]


@pytest.mark.parametrize("parts", [1, 3, 50, 3 * MANY_PARTS])
@pytest.mark.parametrize(("ranks", "workers"), list(product((1, 2, 3), (1, 4))))
def test_each_row_comes_once_a_pass(parts: int, ranks: int, workers: int) -> None:
    stream = plain(numbers(parts))
    readers = [Reader(rank, ranks, worker, workers) for rank in range(ranks) for worker in range(workers)]
    for number in (0, 1):
        seen = [source for reader in readers for source in sources(stream.batches(reader, number, 3))]
        assert sorted(seen, key=int) == [str(row) for row in range(7 * parts)]


def test_few_parts_are_shared_by_rows_and_evenly() -> None:
    stream = plain(numbers(3))
    counts = [len(sources(stream.batches(Reader(rank, 2), 0, 3))) for rank in range(2)]
    assert max(counts) - min(counts) <= 3


def test_the_order_is_the_seed_s_and_another_in_each_pass() -> None:
    first, again, other = (sources(plain(numbers(20)).batches(Reader(), number, 4)) for number in (0, 0, 1))
    assert first == again != other
    in_order = sources(plain(numbers(20), shuffled=False).batches(Reader(), 0, 4))
    assert in_order == [str(row) for row in range(140)]


def test_neighbours_are_taken_apart() -> None:
    """Of 50 parts of 100 rows, a batch of eight has rows of more than two parts mostly."""
    batches = plain(numbers(50, 100)).batches(Reader(), 0, 8)
    parts = [len({int(row["source"]) // 100 for row in batch.rows}) for batch in batches]
    assert sum(count > 2 for count in parts) > 0.8 * len(parts)


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("reader", [Reader(), Reader(1, 2, 1, 3)])
def test_any_batch_can_be_gone_on_from(reader: Reader, shuffled: bool) -> None:
    stream = plain(numbers(9), shuffled=shuffled)
    batches = list(stream.batches(reader, 2, 4))
    for place, batch in enumerate(batches):
        position = Position.of(batch.position.to_list())
        rest = stream.batches(reader, 2, 4, position=position)
        assert sources(rest) == sources(batches[place + 1 :])


def test_a_last_batch_may_be_dropped() -> None:
    sizes = [len(batch.rows) for batch in plain(numbers(2)).batches(Reader(), 0, 4)]
    assert sizes == [4, 4, 4, 2]
    assert [len(batch.rows) for batch in plain(numbers(2)).batches(Reader(), 0, 4, drop_last=True)] == [4, 4, 4, 0]


def test_a_block_ends_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 5)  # of one byte a row
    positions = [batch.position for batch in plain(numbers(4)).batches(Reader(), 0, 1)]
    assert [position.block for position in positions] == [row // 5 for row in range(28)]


def test_samples_are_measured_and_what_is_no_sample_is_told(processor: Any, tmp_path: Path) -> None:
    source = load_stream(str(write_parquet(tmp_path, 40)), split="train", options=ReadOptions())
    stream = Stream(source, PromptRenderer(processor), "Read:", 200, seed=0)
    batches = list(stream.batches(Reader(), 0, 4))
    aside = {row.source: row.reason for batch in batches for row in batch.set_aside}
    assert aside == {f"train:{row}": reason for row, reason in BAD.items()}
    rows = [row for batch in batches for row in batch.rows]
    assert {row["source"] for row in rows} == {f"train:{row}" for row in range(40) if row not in BAD}
    assert {(row["height"], row["width"], row["prompt"], len(row["key"])) for row in rows} == {(56, 112, "Read:", 16)}
    held = Stream(source, PromptRenderer(processor), "Read:", 200, seed=0, held_out=frozenset([rows[0]["key"]]))
    left = sources(held.batches(Reader(), 0, 4))
    assert sorted(left) == sorted({row["source"] for row in rows} - {rows[0]["source"]})
