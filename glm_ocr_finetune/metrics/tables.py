"""TEDS and TEDS-structure of HTML tables, by the published code (package table-recognition-metric over apted).

TEDS = 1 - tree edit distance / nodes of the larger tree, from X. Zhong, E. ShafieiBavani and A. Jimeno Yepes,
Image-based table recognition: data, model, and evaluation, ECCV 2020; TEDS-structure leaves out the text of cells.
The published code gives 0.0 without ``<html><body>``, ignores the text of ``th`` and raises on ``colspan="x"``, so
both tables are prepared first; see :func:`prepare_tables`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, NamedTuple, cast

import regex
from lxml import etree

from ..errors import UserError
from .normalisation import (
    ScoringSettings,
    TextNormalisation,
    collapse_white_space,
    fold_text,
)
from .reading import Reading

TIMEOUT_S = 30.0
BUDGET_S = 600.0
_START_TIMEOUT_S = 60.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_TABLE_START = regex.compile(r"<table\b", regex.IGNORECASE)
_LEADING_INTEGER = regex.compile(r"\s*\+?([0-9]+)")
_SPAN_LIMITS = {"colspan": (1, 1000), "rowspan": (0, 65534)}


class Teds(NamedTuple):
    """The two similarities of one pair of tables; 1 is equal."""

    teds: float
    teds_structure: float


@dataclass(frozen=True)
class PreparedTable:
    """A table as the published code wants it, and its structure (tags and spans) as a comparable text."""

    html: str
    structure: str


TablePair = tuple[PreparedTable | None, PreparedTable | None]


@dataclass(frozen=True)
class TableScore:
    """The tables of one reading: the means over its tables; ``scored`` is False when time ran out for one."""

    id: str
    teds: float
    teds_structure: float
    num_tables: int
    scored: bool


@dataclass(frozen=True)
class TableScores:
    """The tables of all readings.

    Attributes:
        teds, teds_structure: means over the readings; None when no truth holds a table.
        count: readings whose truth holds a table; the others are left out.
        no_table: ids of predictions in which no table could be found; they count as 0.
        not_scored: ids of readings that hit the time limit or the budget, or whose worker died. The table concerned
            counts as 0, so that a looping prediction cannot raise the mean by being too large to score.
        samples: one entry per counted reading, in the order of the readings.
    """

    settings: ScoringSettings
    teds: float | None
    teds_structure: float | None
    count: int
    no_table: tuple[str, ...]
    not_scored: tuple[str, ...]
    samples: tuple[TableScore, ...]

    @property
    def totals(self) -> dict[str, int]:
        """What lies behind the means, counted."""
        return {"count": self.count, "no_table": len(self.no_table), "not_scored": len(self.not_scored)}

    def to_dict(self) -> dict[str, Any]:
        """The part that belongs into ``scores.json``: how many, and the ids of those that count as 0."""
        return {"count": self.count, "no_table": list(self.no_table), "not_scored": list(self.not_scored)}

    def __str__(self) -> str:
        return (
            f"{self.count} truths hold one; counted as 0: {len(self.no_table)} predictions without a table, "
            f"{len(self.not_scored)} not compared in time"
        )


def score_tables(
    readings: Iterable[Reading],
    settings: ScoringSettings | None = None,
    *,
    workers: int | None = None,
    timeout_s: float = TIMEOUT_S,
    budget_s: float = BUDGET_S,
) -> TableScores:
    """Score the readings whose truth holds an HTML table.

    Several tables in one reading are paired in their order; one without a partner counts as 0. Equal tables are not
    sent to a worker. The others go to ``workers`` processes (default: one per core), the smallest first, each with
    ``timeout_s`` seconds; after ``budget_s`` seconds no further one is started, so that the whole takes at most
    ``budget_s + _START_TIMEOUT_S`` seconds.

    Raises:
        UserError: a table must be compared and table-recognition-metric is not installed.
    """
    settings = settings or ScoringSettings()
    entries = list(_table_entries(readings, settings.text_normalisation))
    results = iter(_compare_all([pair for entry in entries for pair in entry.pairs], workers, timeout_s, budget_s))
    samples = tuple(_table_score(entry.id, [next(results) for _ in entry.pairs]) for entry in entries)
    return TableScores(
        settings=settings,
        teds=_mean([sample.teds for sample in samples]),
        teds_structure=_mean([sample.teds_structure for sample in samples]),
        count=len(samples),
        no_table=tuple(entry.id for entry in entries if all(prediction is None for _, prediction in entry.pairs)),
        not_scored=tuple(sample.id for sample in samples if not sample.scored),
        samples=samples,
    )


@dataclass(frozen=True)
class _Entry:
    """The tables of one reading, truths and predictions paired in their order."""

    id: str
    pairs: list[TablePair]


def _table_entries(readings: Iterable[Reading], normalisation: TextNormalisation) -> Iterable[_Entry]:
    for reading in readings:
        truths = prepare_tables(reading.truth, normalisation)
        if truths:
            predictions = prepare_tables(reading.prediction, normalisation)
            yield _Entry(reading.id, list(zip_longest(truths, predictions)))


def has_table(text: str) -> bool:
    """Tell whether the text contains the start of an HTML table."""
    return _TABLE_START.search(text) is not None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _table_score(sample_id: str, results: Sequence[Teds | None]) -> TableScore:
    teds = sum(result.teds for result in results if result) / len(results)
    structure = sum(result.teds_structure for result in results if result) / len(results)
    return TableScore(sample_id, teds, structure, len(results), None not in results)


# Preparing a table


def prepare_tables(text: str, normalisation: TextNormalisation = "nfc") -> list[PreparedTable]:
    """Find the tables of a text (not those inside a cell) and bring each into the form that TEDS expects.

    Text before, between and after is ignored, and broken HTML is mended as lxml does it; where that finds no table,
    the list is empty. ``th`` becomes ``td``; ``thead``, ``tbody`` and ``tfoot`` are unwrapped, ``colgroup`` and ``col``
    removed; spans are read by the rules of HTML (``x`` is 1, ``2.0`` is 2, no colspan below 1). Text in cells gets the
    text normalisation; with ``none`` it stays as it is, which is the published definition to the letter.
    """
    root = _parse(text)
    if root is None:
        return []
    found = root.xpath("//table[not(ancestor::table)]")
    return [_prepare(table, normalisation) for table in cast("list[Any]", found)]


def _parse(text: str) -> Any:
    """Return the root element, or None when nothing can be parsed."""
    if not has_table(text):
        return None
    parser = etree.HTMLParser(remove_comments=True, remove_pis=True, no_network=True, encoding="utf-8")
    return etree.fromstring(text.replace("\0", "").encode("utf-8", "replace"), parser)


def _prepare(table: Any, normalisation: TextNormalisation) -> PreparedTable:
    etree.strip_elements(table, "colgroup", "col", with_tail=False)
    etree.strip_tags(table, "thead", "tbody", "tfoot")
    for cell in list(table.iter("th", "td")):
        cell.tag = "td"
        _mend_spans(cell)
        if normalisation != "none":
            _normalise_cell(cell, normalisation)
    # Written in ASCII with character references, the table cannot be misread by the parser of the published code.
    html = etree.tostring(table, encoding="ascii", method="html", with_tail=False).decode("ascii")
    return PreparedTable(f"<html><body>{html}</body></html>", _structure(table))


def _mend_spans(cell: Any) -> None:
    for name, (least, most) in _SPAN_LIMITS.items():
        if name in cell.attrib:
            match = _LEADING_INTEGER.match(cell.attrib[name])
            span = int(match[1][:9]) if match else 1
            cell.attrib[name] = str(min(max(span, least), most))


def _normalise_cell(cell: Any, normalisation: TextNormalisation) -> None:
    """Normalise the text of a cell and of the elements in it, and strip the two ends of the cell."""
    for node in cell.iter():
        node.text = _normalise_part(node.text, normalisation)
        if node is not cell:
            node.tail = _normalise_part(node.tail, normalisation)
    cell.text = (cell.text or "").lstrip()
    if len(cell):
        cell[-1].tail = (cell[-1].tail or "").rstrip()
    else:
        cell.text = cell.text.rstrip()


def _normalise_part(text: str | None, normalisation: TextNormalisation) -> str | None:
    return collapse_white_space(fold_text(text, normalisation)) if text else text


def _structure(node: Any) -> str:
    """Write the tree of tags and spans down to the cells; equal texts have a TEDS-structure of 1."""
    if node.tag == "td":
        return f"td:{node.get('colspan', '1')}:{node.get('rowspan', '1')}"
    return f"{node.tag}({' '.join(_structure(child) for child in node)})"


# Comparing in worker processes, since the tree edit distance of a large table takes minutes and cannot be interrupted


def _compare_all(
    pairs: Sequence[TablePair], workers: int | None, timeout_s: float, budget_s: float
) -> list[Teds | None]:
    """Return the similarity of each pair in order; None for a pair that could not be scored in time."""
    results = [_without_worker(pair) for pair in pairs]
    open_pairs = [index for index, result in enumerate(results) if result is None]
    open_pairs.sort(key=lambda index: _size(pairs[index]))
    computed = _in_workers([pairs[index] for index in open_pairs], workers, timeout_s, budget_s)
    for index, result in zip(open_pairs, computed, strict=True):
        results[index] = result
    return results


def _without_worker(pair: TablePair) -> Teds | None:
    truth, prediction = pair
    if truth is None or prediction is None:
        return Teds(0.0, 0.0)
    return Teds(1.0, 1.0) if truth.html == prediction.html else None


def _size(pair: TablePair) -> int:
    return sum(len(table.html) for table in pair if table)


def _in_workers(
    pairs: Sequence[TablePair], workers: int | None, timeout_s: float, budget_s: float
) -> list[Teds | None]:
    if not pairs:
        return []
    _check_package()
    idle: SimpleQueue[_Worker] = SimpleQueue()
    pool_size = min(len(pairs), workers or os.cpu_count() or 1)
    crew = [_Worker() for _ in range(pool_size)]
    for worker in crew:
        idle.put(worker)
    deadline = time.monotonic() + budget_s

    def compare(pair: TablePair) -> Teds | None:
        worker = idle.get()
        try:
            return worker.ask(pair, timeout_s, deadline)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(pool_size)
    try:
        return list(pool.map(compare, pairs))
    finally:
        for worker in crew:
            worker.close()
        pool.shutdown(cancel_futures=True)


def _check_package() -> None:
    if importlib.util.find_spec("table_recognition_metric") is None:
        raise UserError(
            "TEDS needs the package table-recognition-metric, which is not installed; "
            'install it with: pip install "glm-ocr-finetune[tables]"'
        )


class _Worker:
    """One process of :mod:`teds_worker`, started when first asked and anew after each time-out.

    A process of its own, not multiprocessing: it neither forks a process that holds a GPU nor imports the main script.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, pair: TablePair, timeout_s: float, deadline: float) -> Teds | None:
        """Return the similarity; None when the time is over or the process died."""
        if time.monotonic() >= deadline:
            return None
        process = self._running()
        truth, prediction = cast("tuple[PreparedTable, PreparedTable]", pair)
        job = [truth.html, prediction.html, truth.structure == prediction.structure]
        cast("IO[str]", process.stdin).write(json.dumps(job) + "\n")
        cast("IO[str]", process.stdin).flush()
        answer = self._answer(process, min(timeout_s, deadline - time.monotonic()))
        return Teds(*json.loads(answer)) if answer else None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = _start_process()
            if not self._answer(self._process, _START_TIMEOUT_S):
                raise UserError(
                    f"the process that compares tables did not start within {_START_TIMEOUT_S:.0f} s; "
                    "see why with: python -m glm_ocr_finetune.metrics.teds_worker"
                )
        return self._process

    def _answer(self, process: subprocess.Popen[str], timeout_s: float) -> str:
        """Read one line; an empty one, with the process ended, when it takes longer than ``timeout_s``."""
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(max(0.0, timeout_s), expire)
        timer.start()
        line = cast("IO[str]", process.stdout).readline()
        timer.cancel()
        timer.join()
        if expired.is_set() or not line:
            self.close()
            return ""
        return line


def _start_process() -> subprocess.Popen[str]:
    paths = [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", "glm_ocr_finetune.metrics.teds_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
