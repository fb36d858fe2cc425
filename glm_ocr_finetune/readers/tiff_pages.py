"""The pages of a TIFF, which scanners and fax machines put into one file."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from .paths import Found

_SUFFIXES = (".tif", ".tiff")
_SUBFILE_TYPE = 254
_REDUCED = 1
"""Bit of the subfile type: a preview of another page, which is no page."""
_ERRORS = (OSError, SyntaxError, ValueError, TypeError, KeyError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for damaged files; the same files are named where images are opened."""


def page_numbers(image: dict[str, Any] | None) -> list[int]:
    """The frames of a TIFF that are pages, from 0; empty for other images and for those of one page."""
    path = str((image or {}).get("path") or "")
    if not path[-5:].lower().endswith(_SUFFIXES):
        return []
    try:
        with Image.open(_source(image), formats=("TIFF",)) as opened:
            frames = range(getattr(opened, "n_frames", 1))
            pages = [number for number in frames if _is_page(opened, number)] if len(frames) > 1 else []
    except _ERRORS:
        return []
    return pages if len(pages) > 1 else []


def read_page(image: dict[str, Any], number: int) -> tuple[dict[str, Any] | None, Found]:
    """(one frame of a TIFF as a PNG, what was found of it)"""
    stream = BytesIO()
    try:
        with Image.open(_source(image), formats=("TIFF",)) as opened:
            opened.seek(number)
            opened.save(stream, "PNG")
    except _ERRORS as error:
        return None, Found(problem="invalid_image", detail=f"{image['path']}, page {number + 1}: {error}")
    return {"bytes": stream.getvalue(), "path": f"{image['path']}#page={number + 1}"}, Found()


def _source(image: dict[str, Any] | None) -> Any:
    data = (image or {}).get("bytes")
    return BytesIO(data) if data else (image or {}).get("path")


def _is_page(opened: Any, number: int) -> bool:
    opened.seek(number)
    return not int(opened.tag_v2.get(_SUBFILE_TYPE, 0)) & _REDUCED
