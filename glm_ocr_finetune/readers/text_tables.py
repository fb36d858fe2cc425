"""JSON Lines, JSON lists, CSV and TSV: read record by record, everything in CSV as text.

``datasets`` has builders for these, but they guess types from the values ("007" would become 7, the
label "NA" a missing one, "12" beside an empty cell 12.0), lose the line numbers, and stop at the first
line with a lone surrogate.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .columns import Layout, find_layout, is_known_column, kinds_of_records
from .csv_files import is_table_of_text, read_csv
from .json_files import read_json
from .paths import image_finder
from .records import Record, say_unknown_tasks, to_rows
from .rows import ReadOptions, counted, file_state, store_rows
from .xlsx_files import read_xlsx

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_READERS = {
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".xlsx": read_xlsx,
    ".xlsm": read_xlsx,
}
SUFFIXES = tuple(_READERS)

_DATA_SUFFIXES = tuple(suffix for suffix in SUFFIXES if suffix != ".txt")

_SAMPLE = 1000
"""Records that are looked at to learn the columns; JSON records may leave some out."""


def is_text_table(file: Path) -> bool:
    """Whether a file is one of these: by its suffix, and a ``.txt`` by its first line."""
    return file.suffix.lower() in _DATA_SUFFIXES or (file.suffix.lower() == ".txt" and is_table_of_text(file))


def has_known_columns(file: Path) -> bool:
    """Whether the first record of a file has a column that is read without being named; True where none can be read."""
    try:
        first = next(_records(file, file.parent), None)
    except UserError:
        return True
    return first is None or first.values is None or any(map(is_known_column, first.values))


def read_text_tables(files: list[Path], root: Path, options: ReadOptions, where: str) -> Dataset:
    """The rows of files of one layout. Image paths are relative to their file and stay inside ``root``.

    Raises ``UserError`` for a file that cannot be parsed or has no known columns.
    """
    records = chain.from_iterable(_records(file, root) for file in files)
    sample = list(islice(records, _SAMPLE))
    layout = _layout(sample, options, where)
    if layout.task:
        tasks = (record.values.get(layout.task) for record in sample if record.values is not None)
        say_unknown_tasks(tasks, layout.task, where)
    finder = image_finder([str(root)], options.image_folder, lenient=layout.is_conversation)
    rows = chain.from_iterable(to_rows(record, layout, finder) for record in chain(sample, records))
    key = ([file_state(file) for file in files], str(root.absolute()), layout, options)
    table = store_rows(rows, key, finder.nothing_to_say)
    logger.info("read as: %s, %s", _title(files[0], sample, layout), counted(len(table), "row"))
    return table


def _title(file: Path, sample: Sequence[Record], layout: Layout) -> str:
    """What the records are called: by what stands in them, else by the kind of file."""
    labels = [record.values.get(layout.text) for record in sample[:20] if record.values]
    if layout.is_conversation:
        return "conversations"
    if any(isinstance(label, Mapping) or '"gt_parse' in str(label) for label in labels):
        return "Donut metadata (what gt_parse holds; --prompt says what to read where that is JSON)"
    columns = list(sample[0].values or ())
    if file.name.lower() == "labels.json" and columns == ["image", "text"]:
        return "docTR labels"
    if columns == ["filename", "words"]:
        return "EasyOCR labels"
    return {".csv": "CSV", ".tsv": "TSV", ".txt": "a table of text", ".xlsx": "Excel", ".xlsm": "Excel"}.get(
        file.suffix.lower(), "JSON"
    )


def _layout(sample: Sequence[Record], options: ReadOptions, where: str) -> Layout:
    kinds = kinds_of_records(record.values for record in sample if record.values is not None)
    if not kinds:
        first = f" ({sample[0].source}: {sample[0].detail})" if sample else ""
        raise UserError(
            f"{where} holds no rows; expected a JSON object a line, a JSON list of objects, or a table{first}"
        )
    if "polygons" in kinds and "img_dimensions" in kinds:
        raise UserError(f"{where} holds boxes without texts (docTR's detection labels): there is nothing to read")
    return find_layout(kinds, options, where)


def _records(file: Path, root: Path) -> Iterator[Record]:
    """The records of one file, with sources such as ``train/metadata.csv:12``."""
    name, base = file.relative_to(root).as_posix(), str(file.parent.absolute())
    try:
        for number, values, problem in _READERS[file.suffix.lower()](file):
            yield Record(f"{name}:{number}", base, None if problem else values, problem)
    except UnicodeError as error:
        raise UserError(f"{file} cannot be decoded: {error}; convert it to UTF-8") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
