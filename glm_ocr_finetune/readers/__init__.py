"""Readers: whatever holds images and transcriptions becomes one neutral, lazy table.

``load_rows`` yields a ``datasets.Dataset`` with the columns

- ``image``: ``{"bytes", "path"}``, encoded; files stay on disk and are named by their absolute path
- ``text``: the label as it is trained on, measured and compared with (``labels.clean_label``), or None
- ``prompt``: the row's own prompt, or None
- ``source``: where the row comes from, for messages: ``manifest.jsonl:12`` (line, or item of a JSON list,
  from 1; the file's name alone for a text beside its image; ``#page=2`` behind it for a page of a TIFF) or
  ``train:12`` (index in the split, from 0)
- ``problem``: None, or why the row cannot be used: a key of ``PROBLEMS``
- ``detail``: None, or the value that the problem is about; ``problem_in_words`` joins the two
- ``region``: None for the whole image, or the part of it that is meant: [x, y] points in pixels of the upright image
- ``group``: the page or document that the row was cut from, or None when nothing is known of it

To add a format: a module with a function that maps a path to its splits, and a line in ``FORMATS``. What each is
known by and what becomes of its rows stands in ``docs/formats.md``.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .annotation_files import annotation_splits
from .box_texts import box_text_splits
from .groups import with_groups
from .hub import check_reachable, hub_splits, is_hub_id, read_hub_split
from .iam import iam_splits
from .kraken import kraken_splits
from .label_lists import label_list_splits
from .label_studio import label_studio_splits
from .pages.archives import unpack
from .pages.pdf import pdf_splits
from .pages.reader import page_splits
from .rows import COLUMNS, PROBLEMS, ReadOptions, problem_in_words
from .saved import saved_splits
from .streams import RowStream, hub_stream, stream_of
from .tables import SUFFIXES, canonical_split, known_table_splits, table_splits
from .text_pairs import ground_truth_splits, images_alone, text_pair_splits
from .webdataset import webdataset_splits

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "COLUMNS",
    "PROBLEMS",
    "check_data_set",
    "list_splits",
    "load_rows",
    "load_stream",
    "local_path",
    "problem_in_words",
]

Splits = dict[str, "Callable[[], Dataset]"]
"""Split name -> function that reads its rows."""

Finder = Callable[[Path, Path, ReadOptions], "Splits | None"]
"""(path, the data set's folder, options) -> its splits, or None where it is of another format."""

FORMATS: dict[str, Finder] = {
    "saved": saved_splits,
    "pages": page_splits,
    "label_studio": label_studio_splits,
    "kraken": kraken_splits,
    "boxes": box_text_splits,
    "annotations": annotation_splits,
    "table": table_splits,
    "iam": iam_splits,
    "paddleocr": label_list_splits,
    "webdataset": webdataset_splits,
    "pairs": text_pair_splits,
    "pdf": pdf_splits,
}
"""Names for ``--data_format``; asked in this order, and the first that knows a path reads it."""

_LOOKED_INTO = 20
"""Folders of a folder that are looked into for a message."""

_OTHER_SUFFIXES = (".zip", ".tar", ".tgz", ".gz", ".pdf", ".xml", ".hocr", ".html")
"""What a file is called and no hub data set, besides the suffixes of tables."""

_LAYOUTS = (
    "metadata.csv or metadata.jsonl with a file_name column, manifest.jsonl, train/test files or folders of "
    "these, *.parquet, *.arrow, *.jsonl, *.json, *.csv, *.tsv, a save_to_disk folder, PAGE XML, ALTO, hOCR, METS or "
    "ABBYY XML with page images, *.pdf, *.xlsx, *.tar, a zip of these, a list of image<TAB>text, or NAME.gt.txt, NAME.txt or NAME.md "
    "beside images"
)


def load_rows(
    dataset_name: str,
    *,
    split: str,
    config: str | None = None,
    image_column: str | None = None,
    text_column: str | None = None,
    image_folder: str | None = None,
    data_format: str | None = None,
    level: str | None = None,
    group_column: str | None = None,
) -> Dataset:
    """The rows of one split of a local file or folder, or else of a hub data set, in the neutral columns.

    ``split`` may be sliced and added as in ``datasets`` (``train[:10%]+test``). ``config`` is a hub
    data set's configuration, or a sub-folder of a local one. ``level`` is what becomes a row of page
    formats: line, region or page. Columns are detected (see ``columns``)
    unless named; ``group_column`` is the one whose equal values belong together. Image paths are relative to ``image_folder``, when given, or to the file that names
    them, and must not leave these folders. The format is found out unless ``data_format`` names it (a
    key of ``FORMATS``).

    Raises ``UserError`` when the data set, split, column or image folder does not exist, a file
    cannot be parsed, or there are no rows.
    """
    options = ReadOptions(config, image_column, text_column, image_folder, data_format, level, group_column)
    splits = _local_splits(dataset_name, options)
    if splits is None and level is not None:
        raise UserError(f"--level {level} is for page formats (PAGE XML, ALTO, …); leave it out for {dataset_name}")
    rows = read_hub_split(dataset_name, split, options) if splits is None else _select(splits, split, dataset_name)
    if len(rows) == 0:
        raise UserError(f"{dataset_name}: split {split!r} has no rows.")
    return with_groups(rows, options)


def load_stream(dataset_name: str, *, split: str, options: ReadOptions) -> RowStream:
    """The rows of one split as a stream: parquet files or tar shards, local or of the hub.

    Raises ``UserError`` when there is no such data set or split, or its format is not streamed.
    """
    splits = _local_splits(dataset_name, options)
    if splits is None:
        return hub_stream(dataset_name, split, options)
    return stream_of(splits, _resolve(splits, split, dataset_name), dataset_name, options)


def list_splits(dataset_name: str, config: str | None = None, data_format: str | None = None) -> list[str]:
    """The names of the splits. Raises ``UserError`` when the data set does not exist."""
    splits = _local_splits(dataset_name, ReadOptions(config, data_format=data_format))
    return hub_splits(dataset_name, config) if splits is None else list(splits)


def local_path(name: str, flag: str = "dataset_name") -> Path | None:
    """The file or folder that a data set is; None when there is none and the name could be a hub id.

    Raises ``UserError``, naming the flag, when it is neither.
    """
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if os.path.exists(path):
        return path
    if not name.lower().endswith((*SUFFIXES, *_OTHER_SUFFIXES)) and is_hub_id(name):
        return None
    here = [entry.name for entry in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    close = difflib.get_close_matches(path.name, here, n=1)
    meant = (
        f"did you mean {os.path.join(os.path.dirname(name), close[0])}?"
        if close
        else "expected one, or a hub id owner/name"
    )
    raise UserError(f"there is no file or folder {name!r} (--{flag}); {meant}")


def check_data_set(name: str, flag: str = "dataset_name") -> None:
    """Raise ``UserError`` for a data set that is nowhere: no path, not in the cache, and no hub to ask."""
    if local_path(name, flag) is None:
        check_reachable(name)


def _local_splits(name: str, options: ReadOptions) -> Splits | None:
    """The splits of a local path; None when there is no such path and the name could be a hub id."""
    if options.data_format is not None and options.data_format not in FORMATS:
        raise UserError(f"--data_format {options.data_format} is not known; expected one of: {', '.join(FORMATS)}")
    path = local_path(name)
    if path is None:
        return None
    path = _configured(path, options.config)
    splits = _splits_of(path, path if path.is_dir() else path.parent, options)
    if not splits and options.data_format is not None:
        raise UserError(f"{path} holds nothing of the format {options.data_format}; docs/formats.md says what it reads")
    if not splits:
        raise UserError(f"{path} holds nothing to read: {_what_is_there(path, options)}expected {_LAYOUTS}")
    return splits


def _what_is_there(path: Path, options: ReadOptions) -> str:
    """What to say of a folder or file that no reader knows, before what is expected."""
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir()][:_LOOKED_INTO] if path.is_dir() else []
    readable = [folder.name for folder in folders if _splits_of(folder, folder, options)]
    if readable:
        return f"its folders can be read one at a time, {', '.join(readable)} (--dataset_name {path / readable[0]}); "
    return images_alone(path) if path.is_dir() else ""


def _configured(path: Path, config: str | None) -> Path:
    if config is None or config == "default":
        return path
    if not os.path.isdir(path / config):
        raise UserError(f"--dataset_config {config}: the local data set {path} has no such sub-folder; leave it out.")
    return path / config


def _splits_of(path: Path, root: Path, options: ReadOptions) -> Splits:
    splits = _splits_of_folders(path, root, options) or _splits_of_format(path, root, options)
    if not splits and path.suffix.lower() == ".zip" and path.is_file():
        path = _innermost(unpack(path))
        return _splits_of(path, path, options)
    return splits


def _innermost(folder: Path) -> Path:
    """The folder that a zip was made of, which often is its only entry."""
    entries = [entry for entry in folder.iterdir() if entry.name != "__MACOSX" and not entry.name.startswith(".")]
    return _innermost(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder


def _splits_of_folders(path: Path, root: Path, options: ReadOptions) -> Splits:
    """Splits from sub-folders called ``train``, ``val``, ``test``, … that each hold something to read."""
    if not path.is_dir() or (path / "dataset_dict.json").exists():
        return {}
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_split_name(folder.name)]
    found = {canonical_split(folder.name): _splits_of_format(folder, root, options) for folder in folders}
    return {split: next(iter(inner.values())) for split, inner in found.items() if inner}


def _is_split_name(name: str) -> bool:
    return canonical_split(name) in ("train", "validation", "test")


def _splits_of_format(path: Path, root: Path, options: ReadOptions) -> Splits:
    if options.data_format is not None:
        finders = [FORMATS[options.data_format]]
    else:
        others = (known_table_splits if find is table_splits else find for find in FORMATS.values())
        finders = [ground_truth_splits, *others, table_splits]  # a table of unknown columns is the last guess
    return next((splits for splits in (find(path, root, options) for find in finders) if splits), {})


def _select(splits: Splits, spec: str, name: str) -> Dataset:
    """The rows of a split, or of slices and sums of splits as ``datasets`` writes them."""
    from datasets import ReadInstruction, concatenate_datasets

    wanted = {part: _resolve(splits, part, name) for part in re.findall(r"(?:^|\+)\s*([^\[+\s]+)", spec)}
    tables = {part: splits[split]() for part, split in wanted.items()}
    if list(tables) == [spec]:
        return tables[spec]
    try:
        slices = ReadInstruction.from_spec(spec).to_absolute({part: len(table) for part, table in tables.items()})
    except (ValueError, AssertionError) as error:
        raise UserError(
            f"split {spec!r} cannot be understood ({error}); expected such as 'train' or 'train[:10%]'."
        ) from error
    parts = [tables[part.splitname].select(range(part.from_ or 0, part.to)) for part in slices]
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def _resolve(splits: Splits, split: str, name: str) -> str:
    found = next((candidate for candidate in (split, canonical_split(split)) if candidate in splits), None)
    if found is None:
        raise UserError(
            f"{name} has no split {split!r}; its splits: {', '.join(splits)}. "
            f"Choose with --split, or in training with --train_split and --eval_split."
        )
    return found
