"""TEDS and TEDS-structure of HTML tables.

TEDS = 1 - tree edit distance / nodes of the larger tree, from X. Zhong, E. ShafieiBavani and A. Jimeno Yepes,
Image-based table recognition: data, model, and evaluation, ECCV 2020; TEDS-structure leaves out the text of cells.
Trees and costs are those of the published code, which gives 0.0 without ``<html><body>``, ignores the text of ``th``
and raises on ``colspan="x"``, so tables are prepared first; see :func:`prepare_tables`. The distance is computed in
:mod:`tree_edit`, some forty times faster than by the published code, so that no clock has a say in any figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import regex
from lxml import etree
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from .normalisation import (
    ScoringSettings,
    TextNormalisation,
    collapse_white_space,
    fold_text,
)
from .reading import Reading
from .tree_edit import Costs, tree_distance, tree_work

# The bounds are in node visits (see ``tree_work``), about three for each row and cell of a table: the same everywhere.
# A pair at the bound takes some seconds and half a gigabyte; a truth at its own bound has some 1,600 cells, and what
# is still compared with it may have four times as many.
MAX_PAIR_VISITS = 100_000_000
MAX_TRUTH_VISITS = 5_000

_TABLE_START = regex.compile(r"<table\b", regex.IGNORECASE)
_LEADING_INTEGER = regex.compile(r"\s*\+?([0-9]+)")
_SPAN_LIMITS = {"colspan": (1, 1000), "rowspan": (0, 65534)}

Outcome = Literal["compared", "truth too large", "prediction too large"]


class Teds(NamedTuple):
    """The two similarities of one pair of tables; 1 is equal."""

    teds: float
    teds_structure: float


@dataclass(frozen=True)
class TableTree:
    """A table as a tree of N nodes in postorder: what :mod:`tree_edit` compares.

    Attributes:
        labels: tag, for a cell with its spans; another label costs 1.
        contents: characters and tags in a cell; another content costs edits / tokens of the longer one.
        first: number of the leftmost leaf below each node.
    """

    labels: tuple[str, ...]
    contents: tuple[tuple[str, ...], ...]
    first: tuple[int, ...]

    @cached_property
    def visits(self) -> int:
        return tree_work(self.first)


TablePair = tuple[TableTree | None, TableTree | None]


@dataclass(frozen=True)
class TableScore:
    """The tables of one reading that were compared: the means over its tables."""

    id: str
    teds: float
    teds_structure: float
    num_tables: int


@dataclass(frozen=True)
class TableScores:
    """The tables of all readings.

    Attributes:
        teds, teds_structure: means over the readings that were compared; None when there are none.
        count: those readings.
        no_table: ids of predictions in which no table could be found; they count as 0.
        too_large: ids of predictions so much larger than their truth that they count as 0, which is at most 0.25
            too little for a table of rows and cells, so that a looping prediction cannot raise the mean.
        not_scored: ids of readings that are left out, since their truth is too large. The prediction has no say in
            that, so what is left out is the same for every model.
        samples: one entry per counted reading, in the order of the readings.
    """

    settings: ScoringSettings
    teds: float | None
    teds_structure: float | None
    count: int
    no_table: tuple[str, ...]
    too_large: tuple[str, ...]
    not_scored: tuple[str, ...]
    samples: tuple[TableScore, ...]

    @property
    def totals(self) -> dict[str, int]:
        """What lies behind the means, counted."""
        return {name: len(ids) for name, ids in self._listed.items()} | {"count": self.count}

    @property
    def _listed(self) -> dict[str, tuple[str, ...]]:
        return {"no_table": self.no_table, "too_large": self.too_large, "not_scored": self.not_scored}

    def to_dict(self) -> dict[str, Any]:
        """The part that belongs into ``scores.json``: how many, and the ids of those that were not compared."""
        return {"count": self.count} | {name: list(ids) for name, ids in self._listed.items()}

    def __str__(self) -> str:
        return (
            f"{self.count} truths hold one; counted as 0: {len(self.no_table)} predictions without a table, "
            f"{len(self.too_large)} too large; left out: {len(self.not_scored)} whose truth is too large"
        )


def score_tables(readings: Iterable[Reading], settings: ScoringSettings | None = None) -> TableScores:
    """Score the readings whose truth holds an HTML table.

    Several tables in one reading are paired in their order; one without a partner counts as 0. The same readings give
    the same figures on every machine.
    """
    settings = settings or ScoringSettings()
    entries = list(_table_entries(readings, settings.text_normalisation))
    samples = tuple(_table_score(entry) for entry in entries if entry.outcome != "truth too large")
    return TableScores(
        settings=settings,
        teds=_mean([sample.teds for sample in samples]),
        teds_structure=_mean([sample.teds_structure for sample in samples]),
        count=len(samples),
        no_table=tuple(entry.id for entry in entries if all(prediction is None for _, prediction in entry.pairs)),
        too_large=tuple(entry.id for entry in entries if entry.outcome == "prediction too large"),
        not_scored=tuple(entry.id for entry in entries if entry.outcome == "truth too large"),
        samples=samples,
    )


@dataclass(frozen=True)
class _Entry:
    """The tables of one reading, truths and predictions paired in their order."""

    id: str
    pairs: list[TablePair]

    @cached_property
    def outcome(self) -> Outcome:
        if any(truth is not None and truth.visits > MAX_TRUTH_VISITS for truth, _ in self.pairs):
            return "truth too large"
        return "prediction too large" if any(_is_too_large(pair) for pair in self.pairs) else "compared"


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


def _table_score(entry: _Entry) -> TableScore:
    results = [_compare(pair) for pair in entry.pairs]
    teds = sum(result.teds for result in results) / len(results)
    structure = sum(result.teds_structure for result in results) / len(results)
    return TableScore(entry.id, teds, structure, len(results))


# Comparing two tables


def _is_too_large(pair: TablePair) -> bool:
    truth, prediction = pair
    return truth is not None and prediction is not None and truth.visits * prediction.visits > MAX_PAIR_VISITS


def _compare(pair: TablePair) -> Teds:
    truth, prediction = pair
    if truth is None or prediction is None or _is_too_large(pair):
        return Teds(0.0, 0.0)
    if truth == prediction:
        return Teds(1.0, 1.0)
    labels = _label_costs(truth, prediction)
    contents = np.maximum(labels, _content_costs(truth, prediction))
    return Teds(_similarity(truth, prediction, contents), _similarity(truth, prediction, labels))


def _similarity(truth: TableTree, prediction: TableTree, rename: Costs) -> float:
    larger = max(len(truth.first), len(prediction.first))
    return 1 - tree_distance(truth.first, prediction.first, rename) / larger


def _label_costs(truth: TableTree, prediction: TableTree) -> Costs:
    return np.not_equal.outer(np.array(truth.labels), np.array(prediction.labels)).astype(np.float64)


def _content_costs(truth: TableTree, prediction: TableTree) -> Costs:
    """Token edits / tokens of the longer content; each pair of different contents is compared once."""
    (ours, rows), (theirs, columns) = (_distinct(tree.contents) for tree in (truth, prediction))
    costs: Costs = cdist(ours, theirs, scorer=Levenshtein.normalized_distance, dtype=np.float64)
    return costs[np.ix_(rows, columns)]


def _distinct(contents: Sequence[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], list[int]]:
    numbers: dict[tuple[str, ...], int] = {}
    indices = [numbers.setdefault(content, len(numbers)) for content in contents]
    return list(numbers), indices


# Preparing a table


def prepare_tables(text: str, normalisation: TextNormalisation = "nfc") -> list[TableTree]:
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


def _prepare(table: Any, normalisation: TextNormalisation) -> TableTree:
    etree.strip_elements(table, "colgroup", "col", with_tail=False)
    etree.strip_tags(table, "thead", "tbody", "tfoot")
    for cell in list(table.iter("th", "td")):
        cell.tag = "td"
        _mend_spans(cell)
    # The published code parses once more what was mended, and broken HTML is not always mended alike twice.
    html = etree.tostring(table, encoding="ascii", method="html", with_tail=False).decode("ascii")
    mended = _parse(f"<html><body>{html}</body></html>").find("body/table")
    nodes = list(_nodes(mended, 0, normalisation))
    return TableTree(*(tuple(column) for column in zip(*nodes, strict=True)))


def _mend_spans(cell: Any) -> None:
    for name, (least, most) in _SPAN_LIMITS.items():
        if name in cell.attrib:
            match = _LEADING_INTEGER.match(cell.attrib[name])
            span = int(match[1][:9]) if match else 1
            cell.attrib[name] = str(min(max(span, least), most))


def _nodes(element: Any, start: int, normalisation: TextNormalisation) -> Iterable[tuple[str, tuple[str, ...], int]]:
    """Label, content and first leaf of each node below an element, in postorder, numbered from ``start``."""
    if element.tag == "td":
        spans = f"{element.get('colspan', '1')}:{element.get('rowspan', '1')}"
        yield f"td:{spans}", tuple(_content(element, normalisation)), start
        return
    number = start
    for child in element:
        for node in _nodes(child, number, normalisation):
            yield node
            number += 1
    yield element.tag, (), start


def _content(element: Any, normalisation: TextNormalisation) -> list[str]:
    """What is in a cell as the published code cuts it: characters, and each tag as one token; the ends stripped."""
    tokens = list(_normalised(element.text, normalisation))
    for child in element:
        tokens += [f"<{child.tag}>", *_content(child, normalisation)]
        if child.tag != "unk":
            tokens.append(f"</{child.tag}>")
        if child.tag != "td":
            tokens += _normalised(child.tail, normalisation)
    return tokens if element.tag != "td" or normalisation == "none" else _stripped(tokens)


def _normalised(text: str | None, normalisation: TextNormalisation) -> str:
    if not text or normalisation == "none":
        return text or ""
    return collapse_white_space(fold_text(text, normalisation))


def _stripped(tokens: list[str]) -> list[str]:
    kept = [position for position, token in enumerate(tokens) if not token.isspace()]
    return tokens[kept[0] : kept[-1] + 1] if kept else []
