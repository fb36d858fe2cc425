"""Texts with an outline on the image of a page: one row each, cut out when it is opened."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inputs.images import ImageError, read_size
from ..inputs.labels import clean_label, is_placeholder
from .paths import Found, ImageFinder, image_finder
from .rows import ReadOptions, Row, counted, make_row, store_rows

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

Points = list[list[float]]
"""[x, y] in pixels of the upright image; two points are a box."""


@dataclass(frozen=True)
class Outlined:
    """A text and its outline, in pixels or in percent of the image's size as its page says.

    ``problem`` and ``detail`` as in ``rows.Row``, for what is known before the text is. ``is_whole`` is a text of the
    whole image, which needs no outline.
    """

    text: object
    points: Points | None
    problem: str | None = None
    detail: str | None = None
    is_whole: bool = False


@dataclass(frozen=True)
class AnnotatedPage:
    """The image of a page by its name in a file of the folder ``base``, and what is written on it.

    ``image`` is None where the name is unknown. ``problem`` is that of the whole page, which is one row then.
    """

    source: str
    base: str
    image: str | None
    pieces: Sequence[Outlined] = ()
    is_percent: bool = False
    group: str | None = None
    problem: str | None = None
    detail: str | None = None


def read_annotated(
    pages: Iterable[AnnotatedPage], title: str, key: object, roots: Sequence[Path], options: ReadOptions
) -> Dataset:
    """The rows of annotated pages, stored under ``key``; what they were read as is said in one line."""
    finder = image_finder([str(root) for root in roots], options.image_folder)
    rows = store_rows(
        (row for page in pages for row in page_rows(page, finder)),
        (title, key, [str(root.absolute()) for root in roots], options),
        finder.nothing_to_say,
    )
    groups = len(rows.unique("group")) if len(rows) else 0
    logger.info("read as: %s, %s, %s", title, counted(groups, "page"), counted(len(rows), "row"))
    return rows


def page_rows(page: AnnotatedPage, finder: ImageFinder) -> Iterator[Row]:
    """A row for each piece of a page, or one that says why there is none."""
    found = finder.find(page.image, page.base) if page.image else Found(problem="no_image")
    if page.problem is not None or not page.pieces:
        image = {"bytes": None, "path": found.path} if found.path else None
        yield make_row(page.source, image, problem=page.problem or "empty_page", detail=page.detail, group=page.group)
        return
    for number, piece in enumerate(_in_pixels(page, found), 1):
        yield outlined_row(piece, f"{page.source}:{number}", found, page.group)


def _in_pixels(page: AnnotatedPage, found: Found) -> Iterable[Outlined]:
    if not page.is_percent or found.path is None or found.problem:
        return page.pieces
    try:
        height, width = read_size({"bytes": None, "path": found.path})
    except ImageError as error:
        return [replace(piece, problem=error.reason, detail=str(error)) for piece in page.pieces]
    return [replace(piece, points=_scaled(piece.points, width / 100, height / 100)) for piece in page.pieces]


def _scaled(points: Points | None, across: float, down: float) -> Points | None:
    return None if points is None else [[x * across, y * down] for x, y in points]


def outlined_row(piece: Outlined, source: str, found: Found, group: str | None) -> Row:
    """The row of a piece of the page image that was ``found``. Its own problem comes first, then label, then image."""
    label = clean_label(piece.text)
    image = {"bytes": None, "path": found.path} if found.path else None
    problem, detail = _problem(piece, label.text, label.reason)
    if problem is None:
        problem, detail = found.problem, found.detail
    return make_row(source, image, label.text, None, problem, detail, piece.points, group)


def _problem(piece: Outlined, text: str | None, reason: str | None) -> tuple[str | None, str | None]:
    """(problem, detail) of a piece without its image"""
    if piece.problem is not None:
        return piece.problem, piece.detail
    if reason is not None:
        return reason, None if reason == "empty_label" else str(piece.text)[:60]
    if text is not None and is_placeholder(text):
        return "placeholder", text
    return ("no_coordinates", text) if piece.points is None and not piece.is_whole else (None, None)


def polygon(points: Any) -> Points | None:
    """An outline of two or more points [x, y]; None when it is none."""
    if not isinstance(points, Sequence) or isinstance(points, str):
        return None
    try:
        found = [[float(x), float(y)] for x, y in points]
    except (TypeError, ValueError):
        return None
    return found if len(found) > 1 and all(math.isfinite(value) for point in found for value in point) else None


def box(values: Any) -> Points | None:
    """The outline of a box (xmin, ymin, xmax, ymax); None when it is none."""
    return polygon([values[:2], values[2:]]) if isinstance(values, list | tuple) and len(values) == 4 else None


def flat_polygon(values: Sequence[Any]) -> Points | None:
    """The outline of x1, y1, x2, y2, …; of four values, a box."""
    return polygon([values[start : start + 2] for start in range(0, len(values), 2)])
