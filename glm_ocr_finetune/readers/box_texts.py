"""Boxes as lines of text, a file for each image: SROIE's and ICDAR's ``x1,y1,x2,y2,x3,y3,x4,y4,TEXT``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .encodings import decoded
from .outlined import AnnotatedPage, Outlined, flat_polygon, read_annotated
from .rows import ReadOptions, file_state
from .stems import image_of_stem

if TYPE_CHECKING:
    from datasets import Dataset

_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*,"
_QUADRILATERAL = re.compile(_NUMBER * 8 + "(.*)")
_BOX = re.compile(_NUMBER * 4 + r'\s*(".*")\s*')
"""ICDAR 2013 quotes its texts, which tells its lines from lists of numbers."""
_SCRIPTS = re.compile(r"(Latin|Arabic|Chinese|Japanese|Korean|Bangla|Hindi|Symbols|Mixed|None),(.*)")
"""The script that the multi-lingual ICDAR sets name before the text."""
_FOLDERS = ("box", "boxes", "gt", "labels", "annotations")
_LOOKED_AT = 20
_PREFIX = re.compile(r"(?i)^gt_")


def box_text_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of a folder of such files (or of its folder ``box``), or of one file; or None."""
    files = [path] if path.suffix.lower() == ".txt" and path.is_file() else _files_in(path)
    if not _are_boxes(files):
        return None
    roots = (root, root.parent) if root.name in _FOLDERS else (root,)
    return {"train": partial(_read, files, root, roots, options)}


def _files_in(folder: Path) -> list[Path]:
    for place in (folder, *(folder / name for name in _FOLDERS)):
        names = sorted(os.listdir(place)) if place.is_dir() else []
        files = [place / name for name in names if name.lower().endswith(".txt") and name[0] != "."]
        if _are_boxes(files):
            return files
    return []


def _are_boxes(files: list[Path]) -> bool:
    """Whether the first lines of the first file that is not empty are all boxes with texts."""
    first = next((file for file in files[:_LOOKED_AT] if file.stat().st_size), None)
    lines = _lines(first)[:_LOOKED_AT] if first else []
    return bool(lines) and all(_QUADRILATERAL.fullmatch(line) or _BOX.fullmatch(line) for line in lines)


def _lines(file: Path) -> list[str]:
    text, _ = decoded(file.read_bytes())
    return [line for line in (text or "").replace("\r\n", "\n").split("\n") if line.strip()]


def _read(files: list[Path], root: Path, roots: tuple[Path, ...], options: ReadOptions) -> Dataset:
    pages = (_page(file, root, options) for file in files)
    return read_annotated(pages, "boxes with texts (SROIE, ICDAR)", list(map(file_state, files)), roots, options)


def _page(file: Path, root: Path, options: ReadOptions) -> AnnotatedPage:
    stem, folder = _PREFIX.sub("", file.stem), str(file.parent.absolute())
    image = image_of_stem(file.stem, folder, options.image_folder) or image_of_stem(stem, folder, options.image_folder)
    page = partial(AnnotatedPage, file.relative_to(root).as_posix(), folder, image or f"{stem}.jpg", group=stem)
    if decoded(file.read_bytes())[0] is None:
        return page(problem="invalid_text", detail="neither UTF-8 nor Windows-1252")
    lines = _lines(file)
    pattern = _QUADRILATERAL if all(map(_QUADRILATERAL.fullmatch, lines)) else _BOX
    return page(list(_pieces(lines, pattern)))


def _pieces(lines: list[str], pattern: re.Pattern[str]) -> Iterator[Outlined]:
    cut = [pattern.fullmatch(line) for line in lines]
    named = [_SCRIPTS.fullmatch(found[found.re.groups]) for found in cut if found]
    has_scripts = bool(named) and all(named)
    for line, found in zip(lines, cut, strict=True):
        if found is None:
            yield Outlined(None, None, "invalid_record", line[:60])
            continue
        *numbers, text = found.groups()
        text = text.partition(",")[2] if has_scripts else text.strip()
        yield Outlined(text[1:-1] if re.fullmatch(r'".*"', text) else text, flat_polygon(numbers))
