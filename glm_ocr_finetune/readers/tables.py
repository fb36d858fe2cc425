"""Local tables: one file, or a folder whose file names tell the splits."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from . import arrow_tables, text_tables
from .json_files import IMAGE_NAME
from .rows import ReadOptions, counted

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

SUFFIXES = text_tables.SUFFIXES + tuple(arrow_tables.BUILDERS)

_SPLIT_WORDS = {
    "train": ("train", "training", "training_data"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "testing_data", "eval", "evaluation"),
}
_CANONICAL = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
_SPLIT_IN_NAME = re.compile(rf"(?i)(?:^|[-_. ])({'|'.join(_CANONICAL)})(?:[-_. \d]|$)")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")

_WHOLE_SETS = ("metadata", "manifest", "sharegpt")
"""Stems of files that hold a whole data set; the first present is read and other tables beside it are not."""

_MOST_LISTS = 200
"""Texts in a folder of transcriptions are more, and are not all opened to see whether one is a table."""

_NOT_TABLES = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


@dataclass(frozen=True)
class TableFiles:
    """The files of one split; called, their rows."""

    files: list[Path]
    root: Path
    options: ReadOptions
    split: str

    def __call__(self) -> Dataset:
        where = self.described()
        if len({file.suffix.lower() for file in self.files}) > 1:
            raise UserError(f"{self.root} holds tables of several kinds ({where}); give one of them as --dataset_name.")
        if self.files[0].suffix.lower() in text_tables.SUFFIXES:
            return text_tables.read_text_tables(self.files, self.root, self.options, where)
        rows = arrow_tables.read_arrow_files(self.files, self.root, self.options, self.split, where)
        kind = arrow_tables.BUILDERS[self.files[0].suffix.lower()].capitalize()
        logger.info("read as: %s, %s", kind, counted(len(rows), "row"))
        return rows

    def described(self) -> str:
        """The first three files, for messages."""
        if len(self.files) == 1:
            return str(self.files[0])
        names = ", ".join(file.relative_to(self.root).as_posix() for file in self.files[:3])
        return names + (f" and {len(self.files) - 3} more" if len(self.files) > 3 else "")


def canonical_split(name: str) -> str:
    """``train``, ``validation`` or ``test`` for their other names (``val``, ``eval``), else the name itself."""
    return _CANONICAL.get(name.casefold(), name)


def table_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The splits of a table file (``train``) or of a folder of tables, or None when there is no table.

    In a folder, files named after splits come first (``train.jsonl``, ``test-00000-of-00002.parquet``),
    then ``metadata.*``, ``manifest.*``, ``sharegpt.*``, then all tables together as ``train``; failing
    all, the same in its folder ``data``. ``root`` is the data set's folder, which images must not leave.
    """
    if path.is_file():
        splits = {"train": [path]} if _is_table(path) else {}
    else:
        splits = _splits_in(path) or _splits_in(path / "data")
    return {split: TableFiles(files, root, options, split) for split, files in splits.items()} or None


def known_table_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """As ``table_splits``, but None for a folder whose tables have no column that is known, such as lists of URLs."""
    splits = table_splits(path, root, options)
    if splits is None or path.is_file() or options.image_column or options.text_column:
        return splits
    files = _splits_in(path) or _splits_in(path / "data")
    firsts = [split[0] for split in files.values() if split[0].suffix.lower() in text_tables.SUFFIXES]
    return splits if len(firsts) < len(files) or any(map(text_tables.has_known_columns, firsts)) else None


def _splits_in(folder: Path) -> dict[str, list[Path]]:
    tables = _tables_in(folder)
    splits: dict[str, list[Path]] = {}
    for file in tables:
        split = split_of(file)
        if split is not None:
            splits.setdefault(split, []).append(file)
    if splits or not tables:
        return splits
    whole = next((file for stem in _WHOLE_SETS for file in tables if file.stem == stem), None)
    return {"train": [whole] if whole else tables}


def _tables_in(folder: Path) -> list[Path]:
    """The tables of a folder; those in ``.txt`` files only where there is no other."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    images = {os.path.splitext(name)[0] for name in names if IMAGE_NAME.fullmatch(name)}
    files = [folder / name for name in names if name not in _NOT_TABLES and not name.startswith((".", "~$"))]
    tables = [file for file in files if file.suffix.lower() in SUFFIXES and file.is_file()]
    lists = [file for file in tables if file.suffix.lower() == ".txt"]
    others = [file for file in tables if file not in lists]
    lists = [file for file in lists if file.name.split(".")[0] not in images]
    return others or [file for file in lists if len(lists) <= _MOST_LISTS and _is_table(file)]


def _is_table(file: Path) -> bool:
    return file.suffix.lower() in arrow_tables.BUILDERS or text_tables.is_text_table(file)


def split_of(file: Path) -> str | None:
    """The split that a file's name tells: ``test`` of ``test-00000-of-00002.parquet`` and of ``rec_gt_test.txt``."""
    shard = _SHARD.fullmatch(file.stem)
    if shard:
        return canonical_split(shard[1])
    word = _SPLIT_IN_NAME.search(file.stem)
    return _CANONICAL[word[1].casefold()] if word else None
