"""IAM's ``lines.txt`` and ``words.txt``: an id, a box and a text in each line."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .conversations import Turn
from .encodings import open_text, read_head
from .paths import ImageFinder, image_finder
from .records import rows_of
from .rows import ReadOptions, Row, counted, file_state, make_row, store_rows

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_NAMES = ("lines*.txt", "words*.txt")
"""In the order in which they are read where a folder has both."""
_LINE = re.compile(r"(?P<id>[a-z]\d\d-\d{3}[a-z]?-\d+(?P<word>-\d+)?) (?P<state>ok|err?|prt) (?:\S+ ){6}(?P<text>.*)")
"""Six fields stand before the text: grey level, then x, y, w, h and tag of a word, or parts, x, y, w, h of a line."""


def iam_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The one split ``train`` of an IAM list, or of a folder with lists (in ``ascii`` too); None for anything else."""
    places = [path, path / "ascii"] if path.is_dir() else []
    files = [path] if path.is_file() else [file for name in _NAMES for top in places for file in sorted(top.glob(name))]
    lists = [file for file in files if file.is_file() and file.suffix == ".txt" and _is_iam(file)]
    if not lists:
        return None
    if len(lists) > 1:
        logger.info("reading %s, not %s (--dataset_name names it)", lists[0], lists[1])
    return {"train": partial(_read, lists[0], root, options)}


def _is_iam(file: Path) -> bool:
    lines = (line for line in read_head(file).split("\n") if line.strip() and not line.startswith("#"))
    return _LINE.fullmatch(next(lines, "")) is not None


def _read(file: Path, root: Path, options: ReadOptions) -> Dataset:
    top = file.parent.parent if file.parent.name == "ascii" else file.parent
    finder = image_finder([str(root), str(top)], options.image_folder, lenient=True)
    key = ("IAM", file_state(file), str(root.absolute()), options)
    rows = store_rows(_rows(file, root, top, finder), key, finder.nothing_to_say)
    logger.info("read as: IAM %s, %s", file.stem, counted(len(rows), "row"))
    return rows


def _rows(file: Path, root: Path, top: Path, finder: ImageFinder) -> Iterator[Row]:
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip() and not line.startswith("#"):
                yield from _row(line.rstrip("\n"), f"{file.relative_to(root).as_posix()}:{number}", str(top), finder)


def _row(line: str, source: str, base: str, finder: ImageFinder) -> Iterator[Row]:
    """The row of a line of the list, grouped by its form.

    A badly segmented word is set aside; of a line only the cut between its words is bad.
    """
    found = _LINE.fullmatch(line)
    if found is None:
        yield make_row(source, problem="invalid_record", detail=line[:60])
        return
    form = "-".join(found["id"].split("-")[:2])
    kind, text = ("words", found["text"]) if found["word"] else ("lines", found["text"].replace("|", " "))
    image = finder.find(f"{kind}/{form[:3]}/{form}/{found['id']}.png", base)
    is_bad = bool(found["word"]) and found["state"] != "ok"
    turn = Turn(problem="bad_segmentation") if is_bad else Turn(answer=text)
    yield from rows_of(source, turn, {"bytes": None, "path": image.path} if image.path else None, image, group=form)
