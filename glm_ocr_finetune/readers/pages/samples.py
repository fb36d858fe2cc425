"""What becomes of a page: samples by line, region or page, each with its text, outline and id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...inputs.labels import is_placeholder
from .layout import Line, Page, Polygon, Region

_MOST_MISSING = 0.1
"""Share of lines without a text up to which a region or page counts as transcribed: strokes and specks, not gaps."""


@dataclass(frozen=True)
class Sample:
    """``kind`` is line, region or page; ``points`` are () for a whole page; ``problem`` as in ``rows.PROBLEMS``."""

    kind: str
    id: str
    points: Polygon
    text: str | None
    problem: str | None
    element: Any = field(default=None, compare=False, repr=False)


def samples_of(page: Page, level: str | None) -> Iterator[Sample]:
    """The samples of a page in reading order.

    Without a level: lines, and regions whose text does not lie in their lines. An empty page is one sample with
    the problem ``empty_page``, unless it has regions and these are asked for.
    """
    if page.is_empty and not (page.regions and level == "region"):
        yield Sample("page", page.id, (), None, "empty_page")
    elif level == "page":
        yield _sample("page", page.id, (), _texts_of_page(page))
    elif level == "region":
        yield from (_of_region(region) for region in page.regions)
    elif page.sequence:
        yield from map(_of_line, page.sequence)
    else:
        for region in page.regions:
            yield from _of_lines(region, is_strict=level == "line")


def _of_lines(region: Region, is_strict: bool) -> Iterator[Sample]:
    has_text_of_its_own = bool(region.text) and not any(line.text for line in region.lines)
    if not has_text_of_its_own:
        yield from map(_of_line, region.lines)
    elif is_strict:
        yield Sample("region", region.id, region.points, None, "no_lines", region.element)
    else:
        yield _of_region(region)


def _of_line(line: Line) -> Sample:
    problem = "not_transcribed" if line.text is None else "placeholder" if is_placeholder(line.text) else None
    return Sample("line", line.id, line.points, line.text, problem or _without_coordinates(line.points), line.element)


def _of_region(region: Region) -> Sample:
    return _sample("region", region.id, region.points, _texts_of_region(region), region.element)


def _sample(kind: str, id: str, points: Polygon, texts: Sequence[str | None], element: Any = None) -> Sample:
    there = [text for text in texts if text]
    untouched = [text for text in there if any(map(is_placeholder, text.split("\n")))]
    problem = None if kind == "page" else _without_coordinates(points)
    if not there:
        problem = "not_transcribed"
    elif len(untouched) == len(there):
        problem = "placeholder"
    elif untouched or len(texts) - len(there) > _MOST_MISSING * len(texts):
        problem = "partly_transcribed"
    return Sample(kind, id, points, "\n".join(there) or None, problem, element)


def _without_coordinates(points: Polygon) -> str | None:
    return None if points else "no_coordinates"


def _texts_of_region(region: Region) -> list[str | None]:
    """The region's own text where it has one: it is what was written for the whole; else those of its lines."""
    return [region.text] if region.text else [line.text for line in region.lines]


def _texts_of_page(page: Page) -> list[str | None]:
    if page.sequence:
        return [line.text for line in page.sequence]
    return [text for region in page.regions for text in _texts_of_region(region)]
