"""CSV and TSV as spreadsheets, pandas and people write them; every cell is text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..errors import UserError
from .columns import is_known_column
from .encodings import open_text, read_head
from .json_files import IMAGE_NAME, Item

_MARKS = ",;\t|"
_SEPARATOR_LINE = re.compile(r"(?i)sep=(.)\s*")
_EASYOCR_HEADER = ["filename", "words"]
_ROW_IN_A_CELL = re.compile(r"(?im)^[^,;\t|\n]+\.(png|jpe?g|tiff?|webp|bmp)[,;\t|]")

csv.field_size_limit(2**31 - 1)  # a page of HTML is longer than the 131,072 characters of the default


@dataclass(frozen=True)
class _Form:
    """How the cells of a file are told apart. ``skipped`` counts Excel's line ``sep=;`` at the top."""

    delimiter: str
    quoted: bool = True
    skipped: int = 0


def read_csv(file: Path) -> Iterator[Item]:
    """(number of a row's first line, cells by column, what is wrong with the row).

    A table of two columns needs no header line. A file whose quotation marks do not pair up is read without
    quoting, and so is EasyOCR's ``filename,words``; its rows are cut at the first delimiter only.
    Raises ``UserError`` when no header names the columns, or one name twice.
    """
    form = _form_of(file)
    rows = _numbered_cells(file, form)
    first = next(rows, None)
    if first is None:
        return
    header = _header(file, first[1])
    for number, cells in rows if _is_header(first[1]) else chain([first], rows):
        cells = _joined(cells, header, form)
        if len(cells) > len(header):
            yield number, None, f"{len(cells)} cells, the header has {len(header)}"
        else:
            yield number, dict(zip(header, cells, strict=False)), None


def is_table_of_text(file: Path) -> bool:
    """Whether a ``.txt`` is a table: its first line names columns that are known, or an image before a text."""
    line = next((line for line in read_head(file).split("\n") if line.strip()), "")
    known, images, cells = max(_score(line.split(mark)) for mark in _MARKS)
    return cells > 1 and (known > 1 or (images > 0 and "\t" not in line))


def _form_of(file: Path) -> _Form:
    with open_text(file) as stream:
        lines = (line.rstrip("\n") for line in stream)
        first = next(lines, "")
        told = _SEPARATOR_LINE.fullmatch(first)
        header = next(lines, "") if told else first
    delimiter = told[1] if told else max(_MARKS, key=lambda mark: _score(header.split(mark)))
    form = _Form(delimiter, skipped=1 if told else 0)
    unquoted = _cleaned(header.split(delimiter)) == _EASYOCR_HEADER or not _quotes_pair_up(file, form)
    return _Form(delimiter, not unquoted, form.skipped)


def _score(cells: list[str]) -> tuple[int, int, int]:
    """How well a header line is cut: columns known by name, then names of images, then columns at all."""
    cleaned = _cleaned(cells)
    return sum(map(is_known_column, cleaned)), sum(map(_is_image, cleaned)), len(cleaned)


def _cleaned(cells: list[str]) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in cells]


def _is_image(cell: str) -> bool:
    return IMAGE_NAME.fullmatch(cell) is not None


def _is_header(cells: list[str]) -> bool:
    cleaned = _cleaned(cells)
    return any(map(is_known_column, cleaned)) or not any(map(_is_image, cleaned))


def _header(file: Path, cells: list[str]) -> list[str]:
    """The columns' names: those of the first line, or image and text where it is a row already."""
    names = _cleaned(cells)
    if _is_header(cells):
        twice = [name for name, count in Counter(names).items() if name and count > 1]
        if twice:
            raise UserError(f"{file} has {names.count(twice[0])} columns called {twice[0]!r}; give each its own name")
        return names
    if len(names) != 2 or all(map(_is_image, names)):
        raise UserError(f"{file} has no header line ({', '.join(names)[:80]}); put one above, such as: image,text")
    return ["image", "text"] if _is_image(names[0]) else ["text", "image"]


def _quotes_pair_up(file: Path, form: _Form) -> bool:
    """Whether the whole file can be read with quoting, and no quotation mark swallows rows."""
    try:
        return not any(
            _ROW_IN_A_CELL.search(cell) for _, cells in _quoted(file, form) for cell in cells if "\n" in cell
        )
    except csv.Error:
        return False


def _numbered_cells(file: Path, form: _Form) -> Iterator[tuple[int, list[str]]]:
    rows = _quoted(file, form) if form.quoted else _plain(file, form)
    return ((number, cells) for number, cells in rows if any(cells))


def _quoted(file: Path, form: _Form) -> Iterator[tuple[int, list[str]]]:
    with open_text(file, newline="") as stream:
        lines = csv.reader(stream, delimiter=form.delimiter, skipinitialspace=True, strict=True)
        number = 1
        for cells in lines:
            if number > form.skipped:
                yield number, cells
            number = lines.line_num + 1


def _plain(file: Path, form: _Form) -> Iterator[tuple[int, list[str]]]:
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if number > form.skipped:
                yield number, line.rstrip("\n").split(form.delimiter)


def _joined(cells: list[str], header: list[str], form: _Form) -> list[str]:
    """The cells without Excel's empty ones at the end; of an unquoted pair, the second keeps its delimiters."""
    if not form.quoted and len(header) == 2:
        return [*cells[:1], form.delimiter.join(cells[1:])]
    while len(cells) > len(header) and not cells[-1].strip():
        cells = cells[:-1]
    return cells
