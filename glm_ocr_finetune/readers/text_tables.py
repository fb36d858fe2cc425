"""JSON Lines, JSON lists, CSV and TSV: read record by record, everything in CSV as text.

``datasets`` has builders for these, but they guess types from the values ("007" would become 7, the
label "NA" a missing one, "12" beside an empty cell 12.0), lose the line numbers, and stop at the first
line with a lone surrogate.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .columns import Layout, find_layout, kinds_of_records
from .paths import image_finder
from .records import Record, to_row
from .rows import ReadOptions, file_state, store_rows

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")

_SAMPLE = 1000
"""Records that are looked at to learn the columns; JSON records may leave some out."""

_BETWEEN_ITEMS = re.compile(r"[\s,]*")


def read_text_tables(files: list[Path], root: Path, options: ReadOptions, where: str) -> Dataset:
    """The rows of files of one layout. Image paths are relative to their file and stay inside ``root``.

    Raises ``UserError`` for a file that cannot be parsed or has no known columns.
    """
    records = chain.from_iterable(_records(file, root) for file in files)
    sample = list(islice(records, _SAMPLE))
    layout = _layout(sample, options, where)
    finder = image_finder([str(root)], options.image_folder, lenient=layout.is_conversation)
    rows = (to_row(record, layout, finder) for record in chain(sample, records))
    key = ([file_state(file) for file in files], str(root.absolute()), layout, options)
    return store_rows(rows, key, finder.nothing_to_say)


def _layout(sample: Iterable[Record], options: ReadOptions, where: str) -> Layout:
    kinds = kinds_of_records(record.values for record in sample if record.values is not None)
    if not kinds:
        raise UserError(f"{where} holds no rows; expected a JSON object a line, a JSON list of objects, or a table.")
    return find_layout(kinds, options, where)


def _records(file: Path, root: Path) -> Iterator[Record]:
    """The records of one file, with sources such as ``train/metadata.csv:12``."""
    name, base = file.relative_to(root).as_posix(), str(file.parent.absolute())
    reader = _read_csv if file.suffix.lower() in (".csv", ".tsv") else _read_json
    for number, values in reader(file):
        yield Record(f"{name}:{number}", base, values if isinstance(values, dict) else None)


def _read_json(file: Path) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of each line, or of each item when the file is one list; None for a broken line."""
    with open(file, "rb") as stream:
        start = stream.read(256).decode("utf-8-sig", errors="replace").lstrip()
    return _read_json_list(file) if start.startswith("[") else _read_json_lines(file)


def _read_json_lines(file: Path) -> Iterator[tuple[int, Any]]:
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield number, _parse(line)


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested without end
        return None


def _read_json_list(file: Path) -> Iterator[tuple[int, Any]]:
    """Items one at a time: the file's text is held in memory, its objects are not."""
    decoder = json.JSONDecoder()
    text = _decoded(file)
    position, number = text.index("[") + 1, 0
    while True:
        position = _after(text, position)
        if text[position : position + 1] == "]":
            return
        number += 1
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}: item {number} of the list is not JSON: {error}") from error
        yield number, value


def _after(text: str, position: int) -> int:
    match = _BETWEEN_ITEMS.match(text, position)
    return match.end() if match else position


def _decoded(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: {error.reason} at byte {error.start}; convert it to UTF-8.") from error


def _read_csv(file: Path) -> Iterator[tuple[int, dict[str, str] | None]]:
    """(number of a row's first line, cells as text); None for a row with more cells than the header."""
    csv.field_size_limit(2**31 - 1)  # a page of HTML is longer than the 131,072 characters of the default
    with open(file, encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, delimiter=_delimiter(file))
        try:
            header = next(lines, [])
            number = lines.line_num + 1
            for cells in lines:
                if cells:
                    yield number, dict(zip(header, cells, strict=False)) if len(cells) <= len(header) else None
                number = lines.line_num + 1
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not UTF-8: {error.reason}; convert it to UTF-8.") from error
        except csv.Error as error:
            raise UserError(f"{file}:{lines.line_num}: {error}") from error


def _delimiter(file: Path) -> str:
    """Tab for .tsv; for .csv the comma, or what the header has when it has no comma."""
    if file.suffix.lower() == ".tsv":
        return "\t"
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as stream:
        header = stream.readline()
    return next((mark for mark in ",;\t" if mark in header), ",")
