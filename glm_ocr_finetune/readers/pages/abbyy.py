"""ABBYY FineReader XML 6 to 10: one element a character, or one a run of characters."""

from __future__ import annotations

from collections.abc import Iterator

from .geometry import around, corners, number, size
from .layout import Line, Page, PageError, Polygon, Region
from .xml_input import Element, children


def parse_abbyy(root: Element) -> list[Page]:
    """The pages of a document element. Raises ``PageError`` when there is none."""
    pages = [_page(page) for page in children(root, "page")]
    if not pages:
        raise PageError("ABBYY XML without a page element")
    return pages


def _page(page: Element) -> Page:
    regions = (_region(block) for block in children(page, "block"))
    return Page(
        image=None,
        width=size(page.get("width")),
        height=size(page.get("height")),
        regions=tuple(region for region in regions if region.lines),
    )


def _region(block: Element) -> Region:
    lines = tuple(Line("", _edges(line), _text(line)) for line in block.iter("{*}line"))
    return Region(block.get("id") or "", _edges(block) or around(line.points for line in lines), None, lines)


def _edges(element: Element) -> Polygon:
    return corners(*(number(element.get(edge)) for edge in "ltrb"))


def _text(line: Element) -> str:
    return " ".join("".join(_characters(line)).split())


def _characters(line: Element) -> Iterator[str]:
    for run in children(line, "formatting"):
        characters = list(run.iter("{*}charParams"))
        yield from (_character(one.text) for one in characters) if characters else (run.text or "",)


def _character(text: str | None) -> str:
    """One character; an empty element is a blank."""
    return text or " "
