"""Tesseract's own tables: TSV with levels, and box files with a word string or line ends."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from .decoding import decode
from .geometry import around, box, corners
from .layout import Line, Page, PageError, Polygon, Region

TSV_COLUMNS = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight"
_WORD = "5"
_BOX = re.compile(r"^(.+?) (-?\d+) (-?\d+) (-?\d+) (-?\d+) (\d+)(?: ?#(.*))?$")

Row = dict[str, str]


def parse_tsv(data: bytes) -> list[Page]:
    """The pages of a TSV; blocks are regions. Raises ``PageError`` when it is cut short, not UTF-8 or no table."""
    reader = csv.DictReader(io.StringIO(decode(data)), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        rows = list(reader)
    except csv.Error as error:  # a carriage return within a line, a cell of 131,072 characters
        raise PageError(f"line {reader.line_num}: {error}") from error
    missing = [name for name in TSV_COLUMNS.split("\t") if name not in (reader.fieldnames or ())]
    if missing:
        raise PageError(f"has no column {missing[0]!r}")
    short = next((number for number, row in enumerate(rows, 2) if row["height"] is None), None)
    if short or not rows:
        raise PageError(f"line {short} has less columns than the header" if short else "holds no rows")
    return [_page(list(group)) for _, group in groupby(rows, key=lambda row: row["page_num"])]


def _page(rows: list[Row]) -> Page:
    boxes: dict[tuple[str, ...], Polygon] = {
        (row["level"], row["block_num"], row["par_num"], row["line_num"]): _points(row) for row in rows
    }
    width, height = (boxes.get(("1", "0", "0", "0")) or ((0.0, 0.0), (0.0, 0.0)))[1]
    blocks = groupby((row for row in rows if row["level"] == _WORD), key=lambda row: row["block_num"])
    regions = tuple(_region(number, list(words), boxes) for number, words in blocks)
    return Page(None, max(width, 0.0), max(height, 0.0), regions)


def _region(number: str, words: list[Row], boxes: dict[tuple[str, ...], Polygon]) -> Region:
    groups = groupby(words, key=lambda row: (row["par_num"], row["line_num"]))
    lines = tuple(_line(list(line), boxes.get(("4", number, *place))) for place, line in groups)
    return Region("", boxes.get(("2", number, "0", "0")) or around(line.points for line in lines), None, lines)


def _line(words: list[Row], own: Polygon | None) -> Line:
    texts = ((word.get("text") or "").strip() for word in words)
    return Line("", own or around(map(_points, words)), " ".join(filter(None, texts)))


def _points(row: Row) -> Polygon:
    return box(*(row[name] for name in ("left", "top", "width", "height")))


def parse_box(data: bytes) -> list[Page]:
    """The pages of a box file with ``WordStr`` lines, or of characters with a tab where a line ends.

    Box files count y from the bottom edge. Raises ``PageError`` for characters without line ends, as ``makebox``
    writes them: they have neither lines nor blanks.
    """
    entries = list(_boxes(decode(data)))
    if not any(character == "\t" or text for character, _, _, text in entries):
        raise PageError("single characters without line ends (makebox); use WordStr or lstm boxes, TSV or hOCR")
    pages = groupby(entries, key=lambda entry: entry[2])
    return [Page(None, 0, 0, (_box_region(list(page)),), origin="bottom") for _, page in pages]


def _boxes(text: str) -> Iterator[tuple[str, Polygon, str, str | None]]:
    """(character, box, page, text of a WordStr) of each line. A line that is neither is an error."""
    for count, line in enumerate(text.splitlines(), 1):
        found = _BOX.match(line)
        if found is None and line.strip():
            raise PageError(f"line {count} is not a box: {line[:40]!r}")
        if found:
            left, bottom, right, top = map(float, found.group(2, 3, 4, 5))
            yield found[1], corners(left, bottom, right, top), found[6], found[7]


def _box_region(entries: Iterable[tuple[str, Polygon, str, str | None]]) -> Region:
    lines: list[Line] = []
    text, boxes = "", list[Polygon]()
    for character, outline, _, words in entries:
        if words is not None:
            lines.append(Line("", outline, words.strip()))
        elif character != "\t":
            text, boxes = text + character, [*boxes, outline]
        elif text:
            lines.append(Line("", around(boxes), text.strip()))
            text, boxes = "", []
    return Region("", around(line.points for line in lines), None, tuple(lines))
