"""Excel workbooks: the first sheet with columns that are known, each cell as the text that Excel shows."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from .columns import is_known_column
from .json_files import Item

logger = logging.getLogger(__name__)

_FIXED = re.compile(r"(?P<thousands>#,##)?0(?:\.(?P<decimals>0+))?(?P<percent>%)?")
"""Number formats that fix the digits behind the point: ``0``, ``0.00``, ``#,##0.00``, ``0.0%``."""
_LARGEST = 4 << 30
"""Bytes that a workbook may unpack to."""


def read_xlsx(file: Path) -> Iterator[Item]:
    """(row number from 1, cells by column, what is wrong with the row).

    Raises ``UserError`` when the extra ``xlsx`` is not installed, the file is no workbook, or no sheet has a header.
    """
    with _opened(file) as workbook:
        sheets = {sheet.title: sheet for sheet in workbook.worksheets}
        headers = {title: _header(sheet) for title, sheet in sheets.items()}
        chosen = next((title for title, names in headers.items() if sum(map(is_known_column, names)) > 1), None)
        if chosen is None:
            raise UserError(f"{file} has no sheet whose first row names its columns, such as image and text")
        if len(sheets) > 1:
            logger.info("%s: reading the sheet %r of %s", file, chosen, ", ".join(map(repr, sheets)))
        for number, cells in enumerate(sheets[chosen].iter_rows(), 1):
            if number > 1 and any(cell.value is not None for cell in cells):
                yield number, dict(zip(headers[chosen], map(_shown, cells), strict=False)), None


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        import openpyxl
    except ImportError as error:
        raise UserError(f"{file} needs openpyxl: pip install 'glm-ocr-finetune[xlsx]'") from error
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                raise UserError(f"{file} unpacks to more than {_LARGEST >> 30} GiB; save it as CSV")
        workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is not an Excel workbook that can be opened: {error}") from error
    try:
        yield workbook
    finally:
        workbook.close()


def _header(sheet: Any) -> list[str]:
    first = next(sheet.iter_rows(max_row=1), ())
    return [str(cell.value).strip() if cell.value is not None else "" for cell in first]


def _shown(cell: Any) -> Any:
    """The text that Excel shows for a number of an ordinary format; text as it is; anything else as a value."""
    value = cell.value
    if cell.data_type == "e" or not isinstance(value, str | bool | int | float | None):
        return [str(value)]  # an error such as #N/A, or a date, whose text only Excel knows
    if isinstance(value, str | bool | None):
        return value
    fixed = _FIXED.fullmatch(cell.number_format or "")
    if fixed is None:
        return repr(int(value)) if float(value).is_integer() else repr(value)
    digits, percent = len(fixed["decimals"] or ""), fixed["percent"] or ""
    return f"{value * 100 if percent else value:{',' if fixed['thousands'] else ''}.{digits}f}{percent}"
