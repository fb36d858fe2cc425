"""kraken's and OCRopus's layout: ``000236.png`` beside ``000236.gt.txt``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .rows import ReadOptions, Row, make_row, store_rows

if TYPE_CHECKING:
    from datasets import Dataset

_TEXT_SUFFIX = ".gt.txt"
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".bin.png", ".nrm.png")


def text_pair_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of a folder that holds ``*.gt.txt`` files at any depth, or None."""
    if not path.is_dir() or next(path.rglob(f"*{_TEXT_SUFFIX}"), None) is None:
        return None
    return {"train": partial(_read, path, root)}


def _read(folder: Path, root: Path) -> Dataset:
    # The texts are as many files as there are rows: looking for changes would cost as much as reading.
    return store_rows(_rows(folder, root), ("text pairs", str(folder)), lambda: False)


def _rows(top: Path, root: Path) -> Iterator[Row]:
    for folder, subfolders, files in os.walk(top):
        subfolders.sort()
        present = set(files)
        for name in sorted(files):
            if name.endswith(_TEXT_SUFFIX):
                yield _row(root, folder, name, present)


def _row(root: Path, folder: str, name: str, present: set[str]) -> Row:
    stem = name.removesuffix(_TEXT_SUFFIX)
    image = next((stem + suffix for suffix in _IMAGE_SUFFIXES if stem + suffix in present), None)
    text, problem = _text(os.path.join(folder, name))
    source = os.path.relpath(os.path.join(folder, name), root)
    path = os.path.join(folder, image or stem + ".png")
    return make_row(
        source, {"bytes": None, "path": path}, text, problem=problem or (None if image else "missing_image")
    )


def _text(path: str) -> tuple[str | None, str | None]:
    """(text without its last line break, problem)"""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().removesuffix("\n"), None
    except UnicodeDecodeError:
        return None, "invalid_text"
