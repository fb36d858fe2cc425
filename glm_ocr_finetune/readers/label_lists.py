"""Lists of labels in ``.txt`` files: PaddleOCR's ``image<TAB>text``, ``image text``, and tables saved as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .columns import is_known_column
from .csv_files import read_csv
from .encodings import open_text
from .json_files import IMAGE_NAME, Item

_BLANK_BETWEEN = re.compile(r"(?i)(?P<image>\S+\.(?:png|jpe?g|tiff?|webp|bmp|gif))[ ]+(?P<text>.*)")
_NO_LABELS = ("filestate.txt",)
"""PPOCRLabel's list of pages that were looked at: ``C:\\page.jpg<TAB>1``."""


def is_label_list(file: Path) -> bool:
    """Whether the first line of a text file names an image and its text, or columns that are known."""
    return file.name.lower() not in _NO_LABELS and _form(file) is not None


def read_label_list(file: Path) -> Iterator[Item]:
    """(line number, ``image`` and ``text``, what is wrong with the line).

    Of PaddleOCR's lists of images with one text, each image is a row. Raises ``UserError`` for boxes
    on pages.
    """
    form = _form(file)
    return read_csv(file) if form == "table" else _lines(file, "\t" if form == "tab" else " ")


def _lines(file: Path, mark: str) -> Iterator[Item]:
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            line = line.removesuffix("\n")
            pair = _pair(line, mark)
            if pair is not None and pair[1].lstrip().startswith('[{"transcription"'):
                raise UserError(f"{file}:{number} holds boxes on a page, not the text of an image")
            if pair is not None:
                yield from ((number, {"image": name, "text": pair[1]}, None) for name in _names(pair[0]))
            elif line.strip():
                yield number, None, f"{line[:60]!r} is not an image and its text"


def _form(file: Path) -> str | None:
    """How lines are cut, by the first: at a tab, at the blank behind the image's name, or as a table."""
    with open_text(file) as stream:
        line = next((line.removesuffix("\n") for line in stream if line.strip()), "")
    if _pair(line, "\t"):
        return "tab"
    cells = next((line.split(mark) for mark in "\t,;" if mark in line), [])
    if sum(is_known_column(cell.strip()) for cell in cells) > 1 or (cells and IMAGE_NAME.fullmatch(cells[0].strip())):
        return "table"
    return "blank" if _pair(line, " ") else None


def _pair(line: str, mark: str) -> tuple[str, str] | None:
    """(image, text) of a line"""
    if mark == " ":
        match = _BLANK_BETWEEN.fullmatch(line.strip())
        return (match["image"], match["text"]) if match else None
    name, tab, text = line.partition(mark)
    return (name, text) if tab and all(map(IMAGE_NAME.fullmatch, _names(name))) else None


def _names(cell: str) -> list[str]:
    """One image, or PaddleOCR's ``["a.jpg", "b.jpg"]``."""
    if not cell.lstrip().startswith("["):
        return [cell.strip()]
    try:
        names = json.loads(cell)
    except ValueError:
        return [cell]
    return [str(name) for name in names] if isinstance(names, list) else [cell]
