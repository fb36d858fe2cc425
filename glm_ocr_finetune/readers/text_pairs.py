"""An image and a text of one stem: ``a.png`` beside ``a.gt.txt`` (kraken, OCRopus, Tesseract), ``a.txt`` or ``a.md``."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs.labels import is_placeholder
from .conversations import Turn
from .encodings import decoded
from .front_matter import is_turned, split_front_matter
from .json_files import IMAGE_NAME
from .paths import ImageFinder, image_finder
from .records import rows_of
from .rows import ReadOptions, Row, counted, make_row, store_rows
from .stems import image_of_stem, images_by_stem
from .tables import table_splits

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_GROUND_TRUTH = ".gt.txt"
_MARKDOWN = ".md"
_TEXT_SUFFIXES = (_GROUND_TRUTH, ".txt", _MARKDOWN)
"""The first that stands beside images is read everywhere: what an OCR program wrote to ``.txt`` is no truth."""
_NOTES = ("readme", "license", "licence", "copying", "notice", "changelog")
_FOREIGN_FOLDERS = ("__MACOSX",)
_BOXES = re.compile(r"\d+(\s+[01]?\.\d{3,}){4,}|(\d+(\.\d+)?,){8}.*")
"""A line of boxes: YOLO's class and fractions, or ICDAR's four corners before a text."""
_PAGE_BREAK = "\f"


_PAGE_SUFFIXES = (".xml", ".hocr")
_LOOKED_AT = 100
"""Texts of a folder whose images are looked for to find out whether it holds pairs."""


def text_pair_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of a folder that holds images and texts of one stem at any depth, or None."""
    suffix = _text_suffix(path) if path.is_dir() else None
    return {"train": partial(_read, path, root, suffix, options)} if suffix else None


def ground_truth_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """As ``text_pair_splits``, for a folder right in which ``.gt.txt`` files lie, and no table: they are the truth.

    Page files in it, such as what an OCR program read, are left to ``--data_format pages`` and to a ``--level``.
    """
    if not path.is_dir() or options.level is not None or table_splits(path, root, options):
        return None
    names = (entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    has_truth = any(name.lower().endswith(_GROUND_TRUTH) for name in names)
    return text_pair_splits(path, root, options) if has_truth else None


def _text_suffix(top: Path) -> str | None:
    """The suffix of the texts: ``.gt.txt`` where there is one, else that of the first texts with an image."""
    seen: set[str] = set()
    for folder, files in _folders(top):
        if any(name.lower().endswith(_GROUND_TRUTH) for name in files):
            return _GROUND_TRUTH
        for suffix in set(_TEXT_SUFFIXES) - seen:
            stems = [name[: -len(suffix)] for name in files if _suffix(name) == suffix][:_LOOKED_AT]
            seen |= {suffix} if any(_is_below(image_of_stem(stem, folder), top) for stem in stems) else set()
    return next((suffix for suffix in _TEXT_SUFFIXES if suffix in seen), None)


def _is_below(image: str | None, top: Path) -> bool:
    return image is not None and Path(image).is_relative_to(top)


def _suffix(name: str) -> str | None:
    return next((suffix for suffix in _TEXT_SUFFIXES if name.lower().endswith(suffix)), None)


def _folders(top: Path) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of its files in order), without what operating systems leave behind."""
    for folder, subfolders, files in os.walk(top):
        subfolders[:] = sorted(name for name in subfolders if name not in _FOREIGN_FOLDERS and name[0] != ".")
        yield folder, sorted(name for name in files if not name.startswith("."))


def images_alone(top: Path) -> str:
    """What to say of a folder that holds images and no texts; empty when it holds no image."""
    counts = {folder: sum(IMAGE_NAME.fullmatch(name) is not None for name in files) for folder, files in _folders(top)}
    names = sorted(os.path.relpath(folder, top) for folder, count in counts.items() if count and folder != str(top))
    where = f" in {', '.join(names[:5])}" if names else ""
    return f"{sum(counts.values())} images{where}, but no text beside any of them; " if any(counts.values()) else ""


@dataclass
class _Pairs:
    """What was seen while reading: images without a text, and texts in an older encoding."""

    finder: ImageFinder
    root: Path
    suffix: str
    images: str | None
    spare: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    older: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def rows(self, top: Path) -> Iterator[Row]:
        """The rows of a folder and those below it, in the order of their names."""
        for folder, files in _folders(top):
            self.pages += [os.path.join(folder, name) for name in files if name.lower().endswith(_PAGE_SUFFIXES)]
            self.spare |= {os.path.join(folder, image) for image in images_by_stem(files).values()}
            for name in files:
                if _suffix(name) == self.suffix:
                    yield from self._rows(folder, name, image_of_stem(name[: -len(self.suffix)], folder, self.images))

    def _rows(self, folder: str, name: str, image: str | None) -> Iterator[Row]:
        path = os.path.join(folder, name)
        source = os.path.relpath(path, self.root)
        if image is None:
            expected = os.path.join(folder, name[: -len(self.suffix)] + ".png")
            if not (self.suffix != _GROUND_TRUTH and name.lower().startswith(_NOTES)):
                yield make_row(source, {"bytes": None, "path": expected}, problem="missing_image", detail=expected)
            return
        self.used.add(image)
        found = self.finder.find(image, folder)
        yield from rows_of(source, self._turn(path), {"bytes": None, "path": found.path}, found)

    def _turn(self, path: str) -> Turn:
        with open(path, "rb") as file:
            text, encoding = decoded(file.read())
        if text is None:
            return Turn(problem="invalid_text")
        if encoding == "cp1252":
            self.older.append(path)
        block, text = split_front_matter(text.replace("\r\n", "\n")) if self.suffix == _MARKDOWN else (None, text)
        if is_turned(block):
            return Turn(problem="rotated_page")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and all(map(_BOXES.fullmatch, lines)):
            return Turn(problem="boxes_only")
        if is_placeholder(text):
            return Turn(problem="placeholder")
        pages = text.removesuffix(_PAGE_BREAK).split(_PAGE_BREAK)
        return Turn(answer=pages if len(pages) > 1 else text)

    def nothing_to_say(self) -> bool:
        """Always False: there are as many texts as rows, and looking for changes would cost as much as reading."""
        spare = sorted(self.spare - self.used)
        if spare:
            logger.warning("%s without a text beside, left out, e.g. %s", counted(len(spare), "image"), spare[0])
        if self.pages:
            left = counted(len(self.pages), "page file")
            logger.warning("%s not read, e.g. %s (--data_format pages reads them)", left, self.pages[0])
        if self.older:
            logger.warning("%d texts are not UTF-8: read as Windows-1252, e.g. %s", len(self.older), self.older[0])
        return False


def _read(folder: Path, root: Path, suffix: str, options: ReadOptions) -> Dataset:
    finder = image_finder([str(root)], options.image_folder)
    pairs = _Pairs(finder, root, suffix, finder.image_folder)
    rows = store_rows(pairs.rows(folder), ("text pairs", str(folder)), pairs.nothing_to_say)
    logger.info("read as: images with %s beside them, %s", suffix, counted(len(rows), "row"))
    return rows
