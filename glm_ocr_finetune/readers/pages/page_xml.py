"""PAGE XML of 2010 to 2024, as PRImA, Transkribus, eScriptorium, OCR-D, LAREX and kraken write it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from .geometry import around, polygon, size
from .layout import Line, Page, PageError, Polygon, Region
from .xml_input import Element, child, children, local_name

_CUSTOM_ORDER = re.compile(r"readingOrder\s*\{[^}]*?index\s*:\s*(\d+)")
_GROUPS = ("OrderedGroup", "OrderedGroupIndexed", "UnorderedGroup", "UnorderedGroupIndexed")
_REFERENCES = ("RegionRef", "RegionRefIndexed")

Place = tuple[float, ...]
"""Where a region stands in the reading order: the index in each group from the outermost; infinity for nowhere."""

_NOWHERE: Place = (math.inf,)


def parse_page_xml(root: Element) -> list[Page]:
    """The page of a PcGts element. Raises ``PageError`` when there is none."""
    pages = [_page(element) for element in children(root, "Page")]
    if not pages:
        raise PageError("PAGE XML without a Page element")
    return pages


def _page(element: Element) -> Page:
    places = _places(element)
    holders = [element] if child(element, "TextLine") is not None else []
    holders += _in_order(element, places)
    regions = (_region(holder, element) for holder in holders)
    return Page(
        image=element.get("imageFilename"),
        width=size(element.get("imageWidth")),
        height=size(element.get("imageHeight")),
        regions=tuple(region for region in regions if region is not None),
        id=element.get("id") or "",
    )


# Reading order of regions


def _places(page: Element) -> dict[str, Place]:
    """Region id -> its place in ReadingOrder."""
    order = child(page, "ReadingOrder")
    places: dict[str, Place] = {}
    for number, group in enumerate(children(order, *_GROUPS) if order is not None else ()):
        for region, place in _places_in(group, () if number == 0 else (math.inf, number)):
            places.setdefault(region, place)
    return places


def _places_in(group: Element, outer: Place) -> Iterator[tuple[str, Place]]:
    for number, member in enumerate(children(group, *_GROUPS, *_REFERENCES)):
        place = (*outer, _index(member, number) if local_name(group).startswith("Ordered") else number)
        if member.get("regionRef"):
            yield member.get("regionRef"), place
        if local_name(member) in _GROUPS:
            yield from _places_in(member, place)


def _index(element: Element, otherwise: float) -> float:
    text = (element.get("index") or "").strip()
    return int(text[:12]) if text.isascii() and text.isdigit() else otherwise


def _in_order(parent: Element, places: dict[str, Place]) -> list[Element]:
    """The regions in an element, each before those nested in it, in reading order.

    A region that ReadingOrder leaves out stands where its ``custom`` says (Transkribus' tables), else where the
    first region in it stands, else last. Without any order: that of the file, and in tables that of rows.
    """
    regions = [element for element in parent if _is_region(element)]
    placed = [(_place(region, places), region) for region in regions]
    if local_name(parent) == "TableRegion" and all(place == _NOWHERE for place, _ in placed):
        ordered = _by_rows(regions)
    else:
        ordered = [region for _, region in sorted(placed, key=lambda pair: pair[0])]
    return [inner for region in ordered for inner in (region, *_in_order(region, places))]


def _is_region(element: Element) -> bool:
    name = local_name(element)
    return name.endswith("Region") or name == "TableCell"


def _place(region: Element, places: dict[str, Place]) -> Place:
    if region.get("id") in places:
        return places[region.get("id")]
    custom = _custom_index(region)
    inner = (_place(nested, places) for nested in region if _is_region(nested))
    return (custom,) if custom is not None else min(inner, default=_NOWHERE)


def _custom_index(element: Element) -> int | None:
    found = _CUSTOM_ORDER.search(element.get("custom") or "")
    return int(found[1][:12]) if found else None


def _by_rows(cells: Sequence[Element]) -> list[Element]:
    """Cells of a table by their row and column where these are stated, else by where they stand on the page."""
    if all(cell.get("row") and cell.get("col") for cell in cells):
        return sorted(cells, key=lambda cell: (_number(cell.get("row")), _number(cell.get("col"))))
    boxes = [(_box(cell), cell) for cell in cells]
    if not all(box for box, _ in boxes):
        return list(cells)
    rows: list[list[tuple[Polygon, Element]]] = []
    for box, cell in sorted(boxes, key=lambda pair: pair[0][0][1] + pair[0][1][1]):
        middle = (box[0][1] + box[1][1]) / 2
        if rows and middle < max(other[1][1] for other, _ in rows[-1]):
            rows[-1].append((box, cell))
        else:
            rows.append([(box, cell)])
    return [cell for row in rows for _, cell in sorted(row, key=lambda pair: pair[0][0][0])]


def _number(text: str) -> float:
    return int(text[:12]) if text.isascii() and text.isdigit() else math.inf


# Regions, lines and their texts


def _region(element: Element, page: Element) -> Region | None:
    """The region of an element; None for pictures, separators and other regions without text."""
    is_page = element is page
    text = None if is_page else _own_text(element)
    found = list(children(element, "TextLine"))
    if not found and not text and local_name(element) != "TextRegion":
        return None
    lines = _ordered_lines(found, text, element, page)
    points = () if is_page else _points(element) or around(line.points for line in lines)
    if is_page:
        return Region("", points, text, tuple(lines))
    return Region(element.get("id") or "", points, text, tuple(lines), element)


def _ordered_lines(elements: Sequence[Element], text: str | None, region: Element, page: Element) -> list[Line]:
    """Lines by their index; else as the region's own text has them; else downwards where that is declared."""
    lines = [_line(element) for element in elements]
    indices = [_line_index(element) for element in elements]
    if all(index is not None for index in indices):
        return [lines[i] for i in sorted(range(len(lines)), key=lambda i: indices[i] or 0)]
    told = [part.strip() for part in (text or "").split("\n") if part.strip()]
    if sorted(told) == sorted(line.text or "" for line in lines):
        return _like(told, lines)
    declared = region.get("textLineOrder") or page.get("textLineOrder")
    if declared == "top-to-bottom" and all(line.points for line in lines):
        return sorted(lines, key=_height) if _is_shuffled(lines) else lines
    return lines


def _line_index(element: Element) -> int | None:
    index = _index(element, -1)
    return int(index) if index >= 0 else _custom_index(element)


def _like(told: Sequence[str], lines: Sequence[Line]) -> list[Line]:
    """The lines in the order of their texts, equal texts in the order of the file."""
    waiting: dict[str, list[Line]] = {}
    for line in lines:
        waiting.setdefault(line.text or "", []).append(line)
    return [waiting[text].pop(0) for text in told]


def _height(line: Line) -> float:
    (_, top), (_, bottom) = around([line.points])
    return top + bottom


def _is_shuffled(lines: Sequence[Line]) -> bool:
    """Whether a line stands wholly above the one before it."""
    boxes = [around([line.points]) for line in lines]
    return any(after[1][1] <= before[0][1] for before, after in zip(boxes, boxes[1:], strict=False))


def _line(element: Element) -> Line:
    words = list(children(element, "Word"))
    text = _own_text(element)
    if text is None and words:
        text = " ".join(filter(None, map(_word_text, words))) or None
    points = _points(element) or around(_points(word) for word in words)
    return Line(element.get("id") or "", points, text, element)


def _word_text(word: Element) -> str:
    own = _own_text(word)
    return own if own is not None else "".join(_own_text(glyph) or "" for glyph in children(word, "Glyph"))


def preferred_text(element: Element) -> Element | None:
    """The TextEquiv with the lowest index (none counts as 0)."""
    return min(children(element, "TextEquiv"), key=lambda text: _index(text, 0), default=None)


def _own_text(element: Element) -> str | None:
    """The text of the preferred TextEquiv, stripped; None without a TextEquiv."""
    lowest = preferred_text(element)
    if lowest is None:
        return None
    readings = (child(lowest, name) for name in ("Unicode", "PlainText"))
    return next((text for text in (_content(reading) for reading in readings) if text), "")


def _content(element: Element | None) -> str:
    return "".join(element.itertext()).replace("\r\n", "\n").strip() if element is not None else ""


def _points(element: Element) -> Polygon:
    coords = child(element, "Coords")
    if coords is None:
        return ()
    if coords.get("points"):
        return polygon(coords.get("points"))
    corners = [(point.get("x"), point.get("y")) for point in children(coords, "Point")]
    return polygon(" ".join(f"{x},{y}" for x, y in corners))


def _box(element: Element) -> Polygon:
    return around([_points(element)])
