"""What is made of the merged results: a text for each page, Markdown for each document, PAGE or ALTO with the texts."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

from ..readers.rows import counted
from .page_outputs import write_xml
from .results import read_results

TEXTS, MARKDOWN, XML = "texts", "markdown", "xml"


def write_outputs(form: str, results: Path, folder: Path, regions: Path | None = None, level: str | None = None) -> str:
    """Write results in one of ``args.OUTPUT_FORMATS``; returns a line that says what and where.

    Args:
        regions: file, folder or zip of the PAGE or ALTO files whose regions were read, for ``xml``.
        level: at which they were read.
    """
    if form == "text":
        return f"{counted(_write_texts(results, folder / TEXTS), 'text')} in {folder / TEXTS}"
    if form == "markdown":
        return f"{counted(_write_markdown(results, folder / MARKDOWN), 'document')} in {folder / MARKDOWN}"
    if form == "xml" and regions is not None:
        return f"{counted(write_xml(results, folder / XML, regions, level), 'file')} in {folder / XML}"
    return f"results in {results}"


def _write_texts(results: Path, folder: Path) -> int:
    count = 0
    common = _common_folder(results)
    for row in read_results(results):
        if "text" in row:
            file = folder / f"{_relative(row['id'], common)}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(row["text"] + "\n", encoding="utf-8")
            count += 1
    return count


def _write_markdown(results: Path, folder: Path) -> int:
    """A file for each document of which something was read, its pages in their order with an empty line between them."""
    count = 0
    common = _common_folder(results)
    for document, rows in groupby(read_results(results), key=lambda row: row["document"]):
        texts = [row["text"] for row in rows if "text" in row]
        if texts:
            file = folder / f"{_relative(document, common)}.md"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
            count += 1
    return count


def _common_folder(results: Path) -> str:
    """The folder that all documents lie in; empty where their names are relative to different places."""
    common: str | None = None
    for row in read_results(results):
        folder = os.path.dirname(row["document"])
        try:
            common = folder if common is None else os.path.commonpath([common, folder])
        except ValueError:  # absolute and relative ones, or other drives
            return ""
    return common or ""


def _relative(name: str, common: str) -> str:
    """A name below the common folder, and never outside the folder that is written to."""
    inside = os.path.relpath(name, common) if common else name
    parts = [part for part in Path(inside).parts if part not in ("..", os.sep) and not part.endswith((":", ":\\"))]
    return os.path.join(*parts).replace(":", "_") if parts else "page"
