"""Rows that belong together: lines of one page, pages of one document, texts of one hand.

What a format knows of it, its reader says. Of a table, a column of :data:`GROUP_COLUMNS` says it, or the names of the
image files do: ``Wecklein1894_0007_12.png`` is a line of ``Wecklein1894_0007``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .columns import GROUP_COLUMNS
from .rows import ReadOptions, column_of, counted, with_column

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

FEWEST = 10
"""Groups that were only guessed are used from this number on; fewer could not be divided fairly."""

OF_A_PAGE = r"^(?P<page>.*[^/\\_. -])[_-](?:line|[A-Za-z])?[_-]?\d+(?:\.[A-Za-z]+)+$"
"""A file name that ends in a number after the name of a page, in RE2."""


def with_groups(rows: Dataset, options: ReadOptions) -> Dataset:
    """The rows with the groups that can be relied upon, which is said in one line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = column_of(rows, "group")
    if options.group_column and not pc.any(pc.starts_with(known, f"{options.group_column}=")).as_py():
        raise UserError(f"--group_column {options.group_column}: the data set has no such column with values in it")
    if known.null_count == len(known):
        return _with_pages(rows)
    guessed, number = _guessed_by(known, options), pc.count_distinct(known).as_py()
    if guessed is None or number >= FEWEST:
        if guessed or options.group_column:
            column = guessed or options.group_column
            logger.info("grouped by the column %r: %s", column, counted(number, "group"))
        return rows
    logger.info(
        "not grouped by the column %r, which has only %s; to do so: --group_column %s",
        *(guessed, counted(number, "different value"), guessed),
    )
    return _with_pages(with_column(rows, "group", pa.nulls(len(rows), pa.string())))


def _guessed_by(known: Any, options: ReadOptions) -> str | None:
    """The column that the groups are from, where nobody asked for it."""
    if options.group_column is not None:
        return None
    first = next(value.as_py() for value in known if value.is_valid)
    name, equals, _ = first.partition("=")
    return name if equals and name.casefold() in GROUP_COLUMNS else None


def _with_pages(rows: Dataset) -> Dataset:
    """The rows with the pages that the names of their images tell, where these are many with several lines each."""
    import pyarrow.compute as pc

    names = pc.struct_field(column_of(rows, "image"), "path")
    found = pc.struct_field(pc.extract_regex(names, OF_A_PAGE), "page")
    number = len(pc.unique(found.drop_null()))
    if number < FEWEST or found.null_count or len(found) < 2 * number:
        return rows
    example = names[0].as_py().replace("\\", "/").rpartition("/")[2]
    logger.info("grouped by page: %s, from file names such as %s", counted(number, "page"), example)
    return with_column(rows, "group", found)
