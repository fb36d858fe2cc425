"""Regions of a page: the box that holds a polygon, and the pixels inside it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Region = Sequence[Sequence[float]]
"""A polygon as [x, y] points in pixels of the upright page, from its top left corner; two points are a box."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom are the first outside."""

_LEAST_INSIDE = 0.5
"""Share of a region's box that must lie on the page. Polygons jut out by a few pixels, wrong ones by their most."""


class RegionError(ValueError):
    """A region that cannot be cut. ``reason``: ``invalid_region``, ``region_without_area``, ``region_outside_page``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def box_of(region: Region, height: int, width: int) -> Box:
    """The box around a region, clipped to a page of ``height`` x ``width`` pixels. Raises ``RegionError``."""
    points = _points(region)
    xs, ys = zip(*points, strict=True)
    left, top, right, bottom = math.floor(min(xs)), math.floor(min(ys)), math.ceil(max(xs)), math.ceil(max(ys))
    if not _has_area(points):
        raise RegionError("region_without_area", f"the region {left},{top} {right},{bottom} has no area")
    clipped = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    inside = max(0, clipped[2] - clipped[0]) * max(0, clipped[3] - clipped[1])
    if inside < _LEAST_INSIDE * (right - left) * (bottom - top):
        raise RegionError(
            "region_outside_page", f"the region {left},{top} {right},{bottom} leaves its page of {width} x {height}"
        )
    return clipped


def cut(page: Image.Image, region: Region) -> Image.Image:
    """The part of an RGB page in a region's box, white outside the polygon. Raises ``RegionError``."""
    left, top, right, bottom = box_of(region, page.height, page.width)
    part = page.crop((left, top, right, bottom))
    if len(region) == 2:
        return part
    mask = Image.new("L", part.size, 0)
    ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in region], fill=255, outline=255)
    white = Image.new("RGB", part.size, "white")
    white.paste(part, mask=mask)
    return white


def _points(region: Region) -> list[tuple[float, float]]:
    points = [(float(point[0]), float(point[1])) for point in region if len(point) == 2]
    if len(points) < 2 or len(points) < len(region) or not all(map(math.isfinite, sum(points, ()))):
        raise RegionError("invalid_region", f"a region of {len(points)} points; expected [x, y] of two or more")
    return points


def _has_area(points: Sequence[tuple[float, float]]) -> bool:
    """Whether the points, or the box between two of them, are not all on one line."""
    x0, y0 = points[0]
    if len(points) == 2:
        return points[1][0] != x0 and points[1][1] != y0
    turns = (
        (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        for (x1, y1), (x2, y2) in zip(points[1:], points[2:], strict=False)
    )
    return any(turn != 0 for turn in turns)
