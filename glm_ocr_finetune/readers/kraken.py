"""kraken's compiled data sets (``ketos compile``): Arrow files with lines of ``text`` and ``im``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .arrow_tables import Origin, restructure
from .rows import ReadOptions, counted

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_SPLITS = ("train", "validation", "test")
"""Columns that say for each line which split it belongs to; all are false where kraken made none."""


def kraken_splits(path: Path, root: Path, options: ReadOptions) -> dict[str, Callable[[], Dataset]] | None:
    """The splits of a compiled data set, or of a folder of them; None for anything else."""
    files = [path] if path.is_file() else sorted(path.glob("*.arrow")) if path.is_dir() else []
    ours = [file for file in files if file.suffix.lower() == ".arrow" and _is_kraken(file)]
    if not ours:
        return None
    names = [name for name in _SPLITS if any(_flags(file, name) for file in ours)] or ["train"]
    return {name: partial(_read, ours, root, name, len(names) > 1, options) for name in names}


def _is_kraken(file: Path) -> bool:
    schema = _opened(file, lambda reader: reader.schema)
    fields = schema.field("lines").type if schema is not None and "lines" in schema.names else None
    return fields is not None and {"text", "im"} <= {field.name for field in getattr(fields, "fields", [])}


def _flags(file: Path, name: str) -> bool:
    """Whether any line of a file belongs to a split."""

    def any_of(reader: Any) -> bool:
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        return name in reader.schema.names and any(True in batch.column(name).to_pylist() for batch in batches)

    return bool(_opened(file, any_of))


def _opened(file: Path, work: Callable[[Any], Any]) -> Any:
    """What ``work`` finds in an Arrow file; None when it is none."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as source:
            return work(pa.ipc.open_file(source))
    except (pa.ArrowInvalid, OSError):
        return None


def _read(files: list[Path], root: Path, split: str, is_marked: bool, options: ReadOptions) -> Dataset:
    import datasets

    try:
        table = datasets.load_dataset("arrow", data_files=[str(file) for file in files], split="train")
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        raise UserError(f"{files[0]} cannot be read as Arrow: {str(error).splitlines()[0]}") from error
    if is_marked:
        table = table.select([number for number, flag in enumerate(table[split]) if flag])
    lines = table.select_columns(["lines"]).flatten().rename_columns({"lines.text": "text", "lines.im": "im"})
    where = ", ".join(map(str, files[:3]))
    rows = restructure(lines, options, Origin(where, split, (str(root),)))
    logger.info("read as: kraken, %s", counted(len(rows), "row"))
    return rows
