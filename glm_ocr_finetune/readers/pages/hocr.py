"""hOCR: HTML whose classes and titles tell lines, boxes and image names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from .decoding import decode_html
from .geometry import around, from_numbers, polygon, size
from .layout import Line, Page, PageError, Polygon, Region
from .xml_input import Element, parse_xml

LINES = frozenset(("ocr_line", "ocrx_line", "ocr_header", "ocr_footer", "ocr_caption", "ocr_textfloat"))
BLOCKS = ("ocr_carea", "ocr_column", "ocrx_block", "ocr_block")
PARAGRAPHS = ("ocr_par",)

_TAIL = 1000
_PROPERTY = re.compile(r"""([A-Za-z_]\w*)((?:\s|"[^"]*"|'[^']*'|[^;"'\s])*)""")


def parse_hocr(data: bytes) -> list[Page]:
    """The pages of an hOCR file. Raises ``PageError`` when it has none or cannot be decoded."""
    pages = [_page(element) for element in _by_class(_root(data), ("ocr_page",))]
    if not pages:
        raise PageError("HTML without an element of class ocr_page")
    return pages


def _root(data: bytes) -> Element:
    """The document as XML when it is that, which keeps empty elements apart; else as browsers read HTML."""
    text = decode_html(data)
    if not text.strip():
        raise PageError("the file is empty")
    if "</html" not in text[-_TAIL:].lower():
        raise PageError("breaks off: there is no </html> at its end")
    if "<!ENTITY" in text:
        raise PageError("declares entities; files with entities of their own are not read")
    plain = re.sub(r"^\s*<\?xml[^>]*\?>", "", text).encode("utf-8")
    try:
        return parse_xml(plain)
    except PageError:
        return _as_html(plain)


def _as_html(data: bytes) -> Element:
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False, remove_comments=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise PageError(f"not HTML: {error}") from error
    if root is None:
        raise PageError("not HTML: no element in it")
    return root


def properties(title: str | None) -> dict[str, str]:
    """``image "a.png"; bbox 0 0 9 9`` as a mapping; a quoted value loses its quotes and may hold semicolons."""
    found = {name: value.strip() for name, value in _PROPERTY.findall(title or "")}
    return {name: value[1:-1] if value[:1] == value[-1:] in ('"', "'") else value for name, value in found.items()}


def _page(element: Element) -> Page:
    told = properties(element.get("title"))
    left, top, right, bottom = [*_numbers(told.get("bbox")), *[""] * 4][:4]
    at_origin = size(left) == size(top) == 0
    return Page(
        image=told.get("image") or told.get("x_source"),
        width=size(right) if at_origin else 0,
        height=size(bottom) if at_origin else 0,
        regions=tuple(_regions(element)),
        id=element.get("id") or "",
    )


def _numbers(text: str | None) -> list[str]:
    return (text or "").split()


def _regions(page: Element) -> Iterator[Region]:
    """Blocks with their lines in the order of the file; without lines, the text of each block or of the page."""
    lines = [element for element in _by_class(page, LINES) if not _has_line_around(element)]
    if not lines:
        yield from _regions_of_text(page)
        return
    inside: list[Any] = []
    holder = None
    for element in lines:
        block = _block_of(element, page)
        if inside and block is not holder:
            yield _region(holder, inside)
            inside = []
        holder = block
        inside.append(element)
    yield _region(holder, inside)


def _has_line_around(element: Element) -> bool:
    return any(LINES & _classes(outer) for outer in element.iterancestors())


def _block_of(element: Element, page: Element) -> Element:
    """The block around a line, else its paragraph, else the page."""
    outer = list(element.iterancestors())
    outer = outer[: outer.index(page)]
    around_it = (found for names in (BLOCKS, PARAGRAPHS) for found in outer if _classes(found) & set(names))
    return next(around_it, page)


def _region(block: Element, elements: list[Any]) -> Region:
    lines = tuple(Line(element.get("id") or "", _points(element), _text(element)) for element in elements)
    is_page = "ocr_page" in _classes(block)
    points = around(line.points for line in lines) if is_page else _points(block)
    return Region("" if is_page else block.get("id") or "", points, None, lines)


def _regions_of_text(page: Element) -> Iterator[Region]:
    blocks = list(_by_class(page, BLOCKS)) or list(_by_class(page, PARAGRAPHS)) or [page]
    for block in blocks:
        if text := _text(block):
            yield Region("" if block is page else block.get("id") or "", _points(block), text, ())


def _by_class(element: Element, names: Any) -> Iterator[Element]:
    return (inner for inner in element.iter(etree.Element) if _classes(inner) & set(names))


def _classes(element: Element) -> set[str]:
    return set((element.get("class") or "").split())


def _points(element: Element) -> Polygon:
    told = properties(element.get("title"))
    drawn = polygon(told.get("poly"))
    return drawn if len(drawn) > 2 else _corners(told.get("bbox"))


def _corners(bbox: str | None) -> Polygon:
    try:
        return from_numbers(_numbers(bbox)[:4])
    except ValueError:
        return ()


def _text(element: Element) -> str:
    """The text inside, each run of white space a blank, and a blank between words that stand without one."""
    return " ".join("".join(_pieces(element)).split())


def _pieces(element: Element) -> Iterator[str]:
    yield element.text or ""
    for inner in element:
        is_word = "ocrx_word" in _classes(inner) if isinstance(inner.tag, str) else False
        yield from _pieces(inner) if isinstance(inner.tag, str) else ()
        yield inner.tail or (" " if is_word else "")
