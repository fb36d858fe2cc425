"""Coordinates as page formats write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from .layout import Point, Polygon

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def polygon(text: str | None) -> Polygon:
    """The points of ``x,y x,y`` (PAGE) or ``x y x y`` or ``x,y,x,y`` (ALTO); none for anything else."""
    return from_numbers(_NUMBER.findall(text or ""))


def from_numbers(numbers: Iterable[str | float]) -> Polygon:
    """The points of x, y, x, y, …; none when a number is missing or infinite, or for less than two points."""
    values = [float(number) for number in numbers]
    if len(values) < 4 or len(values) % 2 or not all(map(math.isfinite, values)):
        return ()
    return tuple(zip(values[::2], values[1::2], strict=True))


def box(left: str | None, top: str | None, width: str | None, height: str | None) -> Polygon:
    """The box of ALTO's HPOS, VPOS, WIDTH and HEIGHT; none where one is missing or no number."""
    x, y, across, down = map(number, (left, top, width, height))
    return corners(x, y, x + across, y + down)


def corners(left: float, top: float, right: float, bottom: float) -> Polygon:
    """The box between two corners; none where one is unknown (not a number)."""
    return from_numbers((left, top, right, bottom))


def number(text: str | None) -> float:
    """A number, or not-a-number for anything else."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def size(text: str | None) -> float:
    """A page's width or height; 0 when it is not stated as a positive number."""
    value = number(text)
    return value if math.isfinite(value) and value > 0 else 0.0


def around(polygons: Iterable[Polygon]) -> Polygon:
    """The box around polygons; none when none has points."""
    points: list[Point] = [point for outline in polygons for point in outline]
    if not points:
        return ()
    xs, ys = zip(*points, strict=True)
    return corners(min(xs), min(ys), max(xs), max(ys))
