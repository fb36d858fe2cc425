"""Parquet and Arrow files, saved data sets, and what the hub yields: tables that ``datasets`` memory-maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .columns import Layout, find_layout, kinds_of_features
from .paths import ImageFinder, image_finder
from .records import TASK_SAMPLE, Record, say_unknown_tasks, to_rows
from .rows import COLUMNS, ReadOptions, Row, make_row, store_rows

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}

_ROWS_AT_ONCE = 64  # some of which hold their images

_ABSENT = " "
"""Names no column: the images of these rows stay in a table of their own, which is never copied."""

NO_ROWS = ("corresponds to no data", "BatchSize must be greater than 0")
"""All that datasets says of a table without rows: with an empty row group, and with none."""


@dataclass(frozen=True)
class Origin:
    """Where a table comes from: for messages, for sources (``train:12``), and the folders that hold its images.

    Relative paths are relative to the first of ``roots``.
    """

    where: str
    split: str
    roots: tuple[str, ...]


def read_arrow_files(files: list[Path], root: Path, options: ReadOptions, split: str, where: str) -> Dataset:
    """The rows of parquet or Arrow files. Raises ``UserError`` when one cannot be read."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    builder = BUILDERS[files[0].suffix.lower()]
    try:
        table = datasets.load_dataset(builder, data_files={"train": [str(file) for file in files]}, split="train")
    except (DatasetGenerationError, ValueError, OSError) as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        if any(message in f"{error} {cause}" for message in NO_ROWS):
            raise UserError(f"{where} holds no rows.") from error
        raise UserError(f"{where} cannot be read as {builder}: {cause}") from error
    return restructure(table, options, Origin(where, split, (str(root),)))


def restructure(table: Dataset, options: ReadOptions, origin: Origin) -> Dataset:
    """A table with the neutral columns; images that are embedded stay where they are, undecoded and uncopied.

    Rows are called ``split:index``, counted from 0 as the table's own indices. Raises ``UserError``
    when the columns are not known.
    """
    layout = layout_of(table.features, options, origin.where)
    if layout.task:
        tasks = table.select_columns([layout.task])[:TASK_SAMPLE][layout.task]
        say_unknown_tasks(tasks, layout.task, origin.where)
    finder = image_finder(origin.roots, options.image_folder, lenient=layout.is_conversation)
    key = (table._fingerprint, layout, options, origin)
    table = _undecoded(table, layout.image) if layout.image else table
    embedded = _embedded_rows(table, layout.image) if layout.image else None
    if layout.image is None or embedded is None:
        return store_rows(_rows(table, layout, finder, origin), key, finder.nothing_to_say)
    rows = store_rows(_rows_without_images(table, layout, finder, origin, embedded), key, finder.nothing_to_say)
    return _beside(table, layout.image, rows)


def layout_of(features: Mapping[str, Any], options: ReadOptions, where: str) -> Layout:
    """The layout of a table with columns of these types. Raises ``UserError`` when the columns are not known."""
    layout = find_layout(kinds_of_features(features), options, where)
    feature = features[layout.text]
    names = getattr(feature, "names", None)
    if "float" in str(getattr(feature, "dtype", "")):
        logger.warning("%s: the labels are stored as %s: 1.50 is read as 1.5, and 12 may be 12.0", where, feature.dtype)
    return replace(layout, class_names=tuple(names)) if names else layout


def _undecoded(table: Dataset, column: str) -> Dataset:
    """The table with the image column's cells as ``{"bytes", "path"}``."""
    from datasets import Image, List, Value

    feature = table.features[column]
    if kinds_of_features({column: feature})[column] == "image":
        return table.cast_column(column, Image(decode=False))
    inner = getattr(feature, "feature", None)
    if isinstance(inner, Image) or (isinstance(inner, Value) and "binary" in inner.dtype):
        return table.cast_column(column, List(Image(decode=False)))
    return table


def _embedded_rows(table: Dataset, column: str) -> list[bool] | None:
    """Which rows have their image's bytes in the table; None when none has (or the cells are lists)."""
    from datasets import Image

    if not isinstance(table.features[column], Image):
        return None
    batches = table.select_columns([column]).with_format("arrow").iter(1000)
    present = [flag for batch in batches for flag in _has_bytes(batch[column])]
    return present if any(present) else None


def _has_bytes(cells: Any) -> list[bool]:
    """Whether each cell of an Arrow column of images has bytes; reads the validity only, not the bytes."""
    import pyarrow.compute as pc

    flags: list[bool] = pc.is_valid(pc.struct_field(cells, "bytes")).to_pylist()
    return flags


def _rows(table: Dataset, layout: Layout, finder: ImageFinder, origin: Origin) -> Iterator[Row]:
    columns = [name for name in table.column_names if name in layout.columns]
    index = 0
    for batch in table.select_columns(columns).with_format("arrow").iter(_ROWS_AT_ONCE):
        for values in batch.to_pylist():
            yield from _rows_of(f"{origin.split}:{index}", values, layout, finder, origin)
            index += 1


def _rows_of(source: str, values: dict[str, Any], layout: Layout, finder: ImageFinder, origin: Origin) -> Iterator[Row]:
    if isinstance(values[layout.text], dict):
        values[layout.text] = _without_gaps(values[layout.text]) or None
    yield from to_rows(Record(source, origin.roots[0], values), layout, finder)


def stream_rows(
    source: str, values: dict[str, Any], layout: Layout, finder: ImageFinder, origin: Origin
) -> Iterator[Row]:
    """The rows of one row of a table that is read as a stream, as :func:`restructure` makes them of a whole one."""
    cell = values.get(layout.image) if layout.image else None
    image = {"bytes": cell, "path": None} if isinstance(cell, bytes) else cell
    if not (isinstance(image, dict) and image.get("bytes")):
        yield from _rows_of(source, values, layout, finder, origin)
        return
    others = {name: value for name, value in values.items() if name != layout.image}
    for row in _rows_of(source, others, replace(layout, image=_ABSENT), finder, origin):
        yield _with_image(row, image, None)


def _with_image(row: Row, image: dict[str, Any] | None, missing: str | None) -> Row:
    """A row that was read without its image; what is then missing is not, but for ``missing``."""
    problem = missing if row["problem"] == "no_image" else row["problem"]
    return make_row(row["source"], image, row["text"], row["prompt"], problem, row["detail"], group=row["group"])


def _without_gaps(value: Any) -> Any:
    """An object without its members that are None: those of a table all have the keys of all rows."""
    if isinstance(value, dict):
        return {name: _without_gaps(inner) for name, inner in value.items() if inner is not None}
    return [_without_gaps(inner) for inner in value] if isinstance(value, list) else value


def _rows_without_images(
    table: Dataset, layout: Layout, finder: ImageFinder, origin: Origin, embedded: list[bool]
) -> Iterator[Row]:
    """Rows to stand beside the images: no image is read here, and what is missing is a problem."""
    elsewhere = replace(layout, image=_ABSENT)
    rows = _rows(table.remove_columns([layout.image]), elsewhere, finder, origin)
    for row, present in zip(rows, embedded, strict=True):
        yield _with_image(row, None, None if present else "no_image")


def _beside(table: Dataset, column: str, rows: Dataset) -> Dataset:
    """The images of one table beside the other columns of another."""
    from datasets import concatenate_datasets

    images = table.select_columns([column])
    images = images if column == "image" else images.rename_column(column, "image")
    return concatenate_datasets([images, rows.remove_columns(["image"])], axis=1).select_columns(list(COLUMNS))
