"""ALTO 1 to 4, as ABBYY, docWORKS, Tesseract, OCR-D and eScriptorium write it, with or without its namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from .geometry import around, box, polygon, size
from .layout import Line, Page, PageError, Polygon, Region
from .xml_input import Element, child, children, local_name

UNITS = ("pixel", "inch1200", "mm10")


def parse_alto(root: Element) -> list[Page]:
    """The pages of an alto element. Raises ``PageError`` when there is none, or its unit is not known."""
    unit = _text_of(root, "MeasurementUnit") or "pixel"
    if unit not in UNITS:
        raise PageError(f"MeasurementUnit is {unit!r}; expected {', '.join(UNITS)}")
    image = _text_of(root, "fileName") or _text_of(root, "fileIdentifier")
    joint = joint_of(root)
    pages = [_page(page, root, image, unit, joint) for page in root.iter("{*}Page")]
    if not pages:
        raise PageError("ALTO without a Page element")
    return pages


def joint_of(root: Element) -> str:
    """What stands between two strings without SP: some writers put SP between words, others leave it out."""
    return "" if root.find(".//{*}SP") is not None else " "


def _text_of(root: Element, name: str) -> str | None:
    """The text of an element of the description."""
    description = child(root, "Description")
    found = description.find(f".//{{*}}{name}") if description is not None else None
    text = (found.text or "").strip() if found is not None else ""
    return text or None


def _page(page: Element, root: Element, image: str | None, unit: str, joint: str) -> Page:
    lines = {element: _line(element, joint) for element in page.iter("{*}TextLine")}
    blocks: dict[Any, list[Line]] = {}
    for element, line in lines.items():
        blocks.setdefault(_block_of(element), []).append(line)
    return Page(
        image=image,
        width=size(page.get("WIDTH")),
        height=size(page.get("HEIGHT")),
        regions=tuple(_region(block, inside) for block, inside in blocks.items()),
        unit=unit,
        sequence=_sequence(root, lines),
        id=page.get("ID") or "",
    )


def _block_of(line: Element) -> Element:
    return next(line.iterancestors("{*}TextBlock"), line.getparent())


def _region(block: Element, lines: list[Line]) -> Region:
    points = _points(block) or around(line.points for line in lines)
    return Region(block.get("ID") or "", points, None, tuple(lines), block)


def _line(element: Element, joint: str) -> Line:
    strings = list(children(element, "String"))
    points = _points(element) or around(_points(string) for string in strings)
    return Line(element.get("ID") or "", points, line_text(element, joint) if strings else None, element)


def line_text(line: Element, joint: str) -> str:
    """The strings of a line. A hyphen (HYP) is what stands there; SUBS_CONTENT, the joined word, is not on the line."""
    text = ""
    for part in line:
        name = local_name(part)
        if name == "String":
            text += (joint if text else "") + (part.get("CONTENT") or "")
        elif name == "SP":
            text += " "
        elif name == "HYP":
            hyphen = part.get("CONTENT") or "-"
            text += "" if text.endswith(hyphen) else hyphen
    return text.strip()


def _points(element: Element) -> Polygon:
    shape = child(element, "Shape")
    outline = child(shape, "Polygon") if shape is not None else None
    drawn = polygon(outline.get("POINTS")) if outline is not None else ()
    return drawn or box(*(element.get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")))


# ReadingOrder of ALTO 4 names blocks, lines and strings


def _sequence(root: Element, lines: dict[Any, Line]) -> tuple[Line, ...]:
    """All lines as ReadingOrder has them, each at its first mention, the others last; empty without an order.

    What an order puts between two strings of one line follows after the lines, since a line stays whole.
    """
    order = child(root, "ReadingOrder")
    if order is None:
        return ()
    named = {element.get("ID"): element for element in root.iter("{*}TextBlock", "{*}TextLine", "{*}String")}
    mentioned = [named[name] for name in (ref.get("REF") for ref in order.iter("{*}ElementRef")) if name in named]
    main, inserted = _divide(mentioned)
    told = chain.from_iterable(_lines_in(element) for element in chain(main, inserted))
    return tuple(lines[element] for element in dict.fromkeys(chain(told, lines)) if element in lines)


def _divide(mentioned: Sequence[Element]) -> tuple[list[Element], list[Element]]:
    """Elements outside of broken lines, and those between strings of one line."""
    owners = [next(_lines_in(element), None) if local_name(element) == "String" else None for element in mentioned]
    last = {owner: position for position, owner in enumerate(owners) if owner is not None}
    main: list[Element] = []
    inserted: list[Element] = []
    broken = None
    for position, (element, owner) in enumerate(zip(mentioned, owners, strict=True)):
        is_inside = broken is not None and owner is not broken and position < last[broken]
        (inserted if is_inside else main).append(element)
        if not is_inside:
            broken = owner
    return main, inserted


def _lines_in(element: Element) -> Iterator[Element]:
    if local_name(element) == "String":
        yield from element.iterancestors("{*}TextLine")
    else:
        yield from element.iter("{*}TextLine")
