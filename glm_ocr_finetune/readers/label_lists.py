"""Lists in ``.txt`` files: PaddleOCR's ``image<TAB>text`` and ``page<TAB>boxes``, and ``image text``."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..inputs.labels import is_placeholder
from .conversations import Turn
from .encodings import open_text, read_head
from .json_files import IMAGE_NAME, parse_json
from .outlined import AnnotatedPage, Outlined, page_rows, polygon
from .paths import ImageFinder, image_finder
from .records import rows_of
from .rows import ReadOptions, Row, counted, file_state, make_row, store_rows
from .tables import split_of

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_BLANK_BETWEEN = re.compile(r"(?i)(?P<image>\S+\.(?:png|jpe?g|tiff?|webp|bmp|gif))[ ]+(?P<text>.*)")
_BOXES = re.compile(r"""\s*\[\s*\{\s*["'](transcription|points|difficult|key_cls)""")
_MOST_LISTS = 200
"""A folder of more texts is one of transcriptions, and they are not all opened to find that out."""
_NO_LABELS = ("filestate.txt",)
"""PPOCRLabel's list of pages that were looked at: ``C:\\page.jpg<TAB>1``."""


def label_list_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The splits of a list of labels (``train``), or of a folder of lists, by their names; None when there is none.

    Where a folder has lists of boxes and of lines cut out of them, as PPOCRLabel writes, the boxes are read.
    """
    if path.is_file():
        return {"train": partial(_read, [path], root, options)} if _mark(path) else None
    splits: dict[str, list[Path]] = {}
    for file in _lists_in(path):
        splits.setdefault(split_of(file) or "train", []).append(file)
    return {split: partial(_read, files, root, options) for split, files in splits.items()} or None


def _lists_in(folder: Path) -> list[Path]:
    """The lists of a folder; a text beside its image is none, and is not opened."""
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    images = {Path(name).stem for name in names if IMAGE_NAME.fullmatch(name)}
    texts = [name for name in names if name.lower().endswith(".txt") and name.split(".")[0] not in images]
    files = [folder / name for name in texts if name[0] != "."] if len(texts) <= _MOST_LISTS else []
    return [file for file in files if file.is_file() and _mark(file)]


def _one_kind(files: list[Path]) -> list[Path]:
    boxes = [file for file in files if _has_boxes(file)]
    others = [file.name for file in files if file not in boxes]
    if boxes and others:
        logger.info("reading the boxes in %s, not the lists of cut lines: %s", boxes[0], ", ".join(others))
    return boxes or files


def _read(files: list[Path], root: Path, options: ReadOptions) -> Dataset:
    files = _one_kind(files)
    finder = image_finder([str(root)], options.image_folder)
    key = ("labels", [file_state(file) for file in files], str(root.absolute()), options)
    rows = store_rows((row for file in files for row in _rows(file, root, finder)), key, finder.nothing_to_say)
    kind = "boxes with texts" if _has_boxes(files[0]) else "labels"
    logger.info("read as: PaddleOCR %s, %s", kind, counted(len(rows), "row"))
    return rows


def _rows(file: Path, root: Path, finder: ImageFinder) -> Iterator[Row]:
    name, base, mark = file.relative_to(root).as_posix(), str(file.parent.absolute()), _mark(file) or "\t"
    for number, line in _numbered_lines(file):
        pair = _pair(line, mark)
        if pair is None:
            yield make_row(
                f"{name}:{number}", problem="invalid_record", detail=f"{line[:60]!r} is no image and its text"
            )
        elif _BOXES.match(pair[1]) or pair[1].strip() == "[]":
            yield from _boxes(pair, f"{name}:{number}", base, finder)
        else:
            yield from _lines(pair, f"{name}:{number}", base, finder)


def _numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    try:
        with open_text(file) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line.removesuffix("\n")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def _lines(pair: tuple[str, str], source: str, base: str, finder: ImageFinder) -> Iterator[Row]:
    """A row for each image of a line; PaddleOCR may give several pictures of one text."""
    image, text = pair
    for name in _names(image):
        found = finder.find(name, base)
        turn = Turn(problem="placeholder") if is_placeholder(text) else Turn(answer=text)
        yield from rows_of(source, turn, {"bytes": None, "path": found.path} if found.path else None, found)


def _boxes(pair: tuple[str, str], source: str, base: str, finder: ImageFinder) -> Iterator[Row]:
    """A row for each box of a page, or one that says there is none."""
    name, text = pair
    try:
        boxes = parse_json(text)
    except ValueError as error:
        yield make_row(source, problem="invalid_record", detail=f"the boxes are not JSON: {error}")
        return
    yield from page_rows(AnnotatedPage(source, base, name, list(map(_outlined, boxes)), group=name), finder)


def _outlined(piece: Any) -> Outlined:
    if not isinstance(piece, dict):
        return Outlined(None, None, "invalid_record", str(piece)[:60])
    text = piece.get("transcription")
    problem = "difficult" if piece.get("difficult") is True else None
    return Outlined(text, polygon(piece.get("points")), problem, str(text))


def _first_lines(file: Path) -> Iterator[str]:
    return (line for line in read_head(file).split("\n") if line.strip())


def _mark(file: Path) -> str | None:
    """What stands between image and text, by the first line; None for any other text file."""
    if file.suffix.lower() != ".txt" or file.name.lower() in _NO_LABELS:
        return None
    line = next(_first_lines(file), "")
    return next((mark for mark in "\t " if _pair(line, mark)), None)


def _has_boxes(file: Path) -> bool:
    pairs = (_pair(line, "\t") for line in _first_lines(file))
    return _BOXES.match(next((pair[1] for pair in pairs if pair), "")) is not None


def _pair(line: str, mark: str) -> tuple[str, str] | None:
    """(image, text) of a line"""
    if mark == " ":
        match = _BLANK_BETWEEN.fullmatch(line.strip())
        return (match["image"], match["text"]) if match else None
    name, tab, text = line.partition(mark)
    return (name.strip(), text) if tab and all(map(IMAGE_NAME.fullmatch, _names(name))) else None


def _names(cell: str) -> list[str]:
    """One image, or PaddleOCR's ``["a.jpg", "b.jpg"]``."""
    if not cell.lstrip().startswith("["):
        return [cell.strip()]
    try:
        names = parse_json(cell)
    except ValueError:
        return [cell]
    return [str(name) for name in names] if isinstance(names, list) else [cell]
