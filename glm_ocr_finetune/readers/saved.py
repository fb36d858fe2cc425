"""Folders written by ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .arrow_tables import Origin, restructure
from .rows import ReadOptions

if TYPE_CHECKING:
    from datasets import Dataset


def saved_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The splits of a saved data set, or None when the folder is not one. A single one is ``train``."""
    if (path / "dataset_dict.json").is_file():
        folders = {folder.name: folder for folder in sorted(path.iterdir()) if (folder / "state.json").is_file()}
    elif (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        folders = {"train": path}
    else:
        return None
    return {split: partial(_read, folder, root, split, options) for split, folder in folders.items()}


def _read(folder: Path, root: Path, split: str, options: ReadOptions) -> Dataset:
    from datasets import Dataset

    return restructure(Dataset.load_from_disk(str(folder)), options, Origin(str(folder), split, (str(root),)))
