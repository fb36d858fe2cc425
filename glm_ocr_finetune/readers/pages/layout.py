"""What every page format is parsed into: a page of regions of lines, with polygons, texts and ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import Any

Point = tuple[float, float]
Polygon = tuple[Point, ...]
"""Outline in the page's unit, from its top left corner; two points are a box, none means that nothing is said."""


class PageError(Exception):
    """A file that cannot be read as pages: one line that says why, without the file's name."""


@dataclass(frozen=True)
class Line:
    """A line of text. ``text`` is None where there is no transcription, "" where an empty one stands.

    ``element`` is where PAGE XML and ALTO have it, for a text to be put there.
    """

    id: str
    points: Polygon
    text: str | None
    element: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Region:
    """Lines that belong together, in reading order. ``text`` is the region's own, None when it has none."""

    id: str
    points: Polygon
    text: str | None
    lines: tuple[Line, ...]
    element: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Page:
    """One page in reading order.

    Attributes:
        image: name of its image as the file has it, or None.
        width, height: size of the page in ``unit``, 0 where it is not stated.
        unit: ``pixel``, or that of the coordinates: ``inch1200``, ``mm10``.
        regions: in reading order.
        sequence: all lines in reading order, where an order leads through regions and back; else empty.
        origin: ``top`` or ``bottom``, the edge that y is counted from.
    """

    image: str | None
    width: float
    height: float
    regions: tuple[Region, ...]
    unit: str = "pixel"
    sequence: tuple[Line, ...] = ()
    id: str = ""
    origin: str = "top"

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines in reading order."""
        return self.sequence or tuple(chain.from_iterable(region.lines for region in self.regions))

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a line nor a region's text."""
        return not any(region.lines or region.text for region in self.regions)
