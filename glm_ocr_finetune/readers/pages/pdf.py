"""PDF files: each page an image, with the text of its text layer or of a .txt or .md file of the same stem."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ...inputs.labels import clean_label
from ...inputs.pdf_pages import DPI, PdfError, has_unmapped, page_path, page_texts
from ..front_matter import is_turned, split_front_matter
from ..rows import ReadOptions, Row, counted, make_row, store_rows
from .decoding import decode
from .folders import look_into
from .layout import PageError
from .pictures import states

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_TEXTS = (".md", ".txt")


def pdf_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of a PDF or of a folder of PDFs without images, or None.

    Raises ``UserError`` for a level other than that of pages.
    """
    if path.is_dir():
        contents = look_into(str(path))
        files = [] if contents.pictures or contents.has_line_texts else contents.pdfs
    else:
        files = [str(path)] if path.suffix.lower() == ".pdf" else []
    if files and options.level not in (None, "page"):
        raise UserError(f"--level {options.level}: a PDF is read by whole pages; leave --level out, or give page")
    return {"train": partial(_read, files, path)} if files else None


def _read(files: list[str], path: Path) -> Dataset:
    root = str(path if path.is_dir() else path.parent)
    if path.is_file():
        _texts_or_error(str(path))
    texts = [text for text in map(_text_beside, files) if text]
    broken: list[str] = []
    rows = (row for file in files for row in _rows(file, root, broken))
    table = store_rows(rows, ("pdf", DPI, root, states(files), states(texts)), lambda: not broken)
    pages = counted(len(table) - len(broken), "page")
    logger.info("read as: PDF, %s, %s at %d dpi", counted(len(files), "file"), pages, DPI)
    return table


def _texts_or_error(file: str) -> None:
    try:
        page_texts(file)
    except PdfError as error:
        raise UserError(f"{file}: {error}") from error


def _rows(file: str, root: str, broken: list[str]) -> Iterator[Row]:
    name = os.path.relpath(file, root)
    try:
        layers = page_texts(file)
        labels = _labels(file, layers)
    except (PdfError, PageError) as error:
        broken.append(name)
        logger.warning("%s cannot be read: %s", name, error)
        yield make_row(name, problem="unreadable_page", detail=str(error), group=name)
        return
    for number, (text, problem) in enumerate(labels, 1):
        label = clean_label(text)
        image = {"bytes": None, "path": page_path(file, number)}
        yield make_row(f"{name}:page {number}", image, label.text, problem=problem or label.reason, group=name)


def _labels(file: str, layers: list[str]) -> list[tuple[str | None, str | None]]:
    """(text, problem) of each page: from the file beside where there is one, else from the text layer."""
    beside = _text_beside(file)
    if beside is None:
        return [_of_layer(layer) for layer in layers]
    text = decode(Path(beside).read_bytes()).replace("\r\n", "\n")
    block, body = split_front_matter(text)
    if is_turned(block):
        return [(None, "rotated_page")] * len(layers)
    texts = [body.strip()] if block is not None else [part.strip() for part in _pages_of(text)]
    return [(text, None) for text in texts] if len(texts) == len(layers) else [(None, "page_count")] * len(layers)


def _pages_of(text: str) -> list[str]:
    """The pages of a text: pdftotext ends each with a form feed."""
    return text.removesuffix("\n").removesuffix("\f").split("\f")


def _of_layer(layer: str) -> tuple[str | None, str | None]:
    if not layer:
        return None, "not_transcribed"
    return (None, "unmapped_text") if has_unmapped(layer) else (layer, None)


def _text_beside(file: str) -> str | None:
    stem = os.path.splitext(file)[0]
    return next((stem + suffix for suffix in _TEXTS if os.path.isfile(stem + suffix)), None)
