"""XML that strangers wrote: parsed without entities, external files or a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from .layout import PageError

HEAD = 1 << 16
"""Bytes of a file that are looked at to know its kind."""
_STEP = 1 << 10

_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}

Element = Any  # lxml's own class is not typed


def parse_xml(data: bytes) -> Element:
    """The root element. Raises ``PageError`` for what is not well-formed, or declares or uses entities of its own."""
    if not data.strip(b" \t\r\n\0"):
        raise PageError("the file is empty")
    try:
        root = etree.fromstring(data, etree.XMLParser(**_OPTIONS))
    except (etree.XMLSyntaxError, ValueError) as error:  # ValueError: an encoding that nobody knows
        raise PageError(f"not well-formed XML: {_first_line(error)}") from error
    _refuse_entities(root)
    entity = next(root.iter(etree.Entity), None)
    if entity is not None:
        raise PageError(f"uses the entity {entity.text}, which is not XML's own")
    return root


def first_tag(head: bytes) -> Element | None:
    """The first start tag in the first bytes of a file, as an element without content; None when there is none.

    Raises ``PageError`` for a file that declares entities, or breaks before its first tag.
    """
    parser = etree.XMLPullParser(events=("start",), **_OPTIONS)
    element = None
    try:
        for start in range(0, len(head), _STEP):
            parser.feed(head[start : start + _STEP])
            element = next((element for _, element in parser.read_events()), None)
            if element is not None:
                break
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:
        raise PageError(f"not well-formed XML: {_first_line(error)}") from error
    if element is not None:
        _refuse_entities(element)
    return element


def local_name(element: Element) -> str:
    """The name of an element without its namespace; "" for what is no element."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: Element, *names: str) -> Iterator[Element]:
    """The direct children with these names, whatever their namespace."""
    found: Iterator[Element] = element.iterchildren(*(f"{{*}}{name}" for name in names))
    return found


def child(element: Element, name: str) -> Element | None:
    """The first direct child of this name, whatever its namespace."""
    return next(children(element, name), None)


def _refuse_entities(element: Element) -> None:
    declared = element.getroottree().docinfo.internalDTD
    entity = next(declared.iterentities(), None) if declared is not None else None
    if entity is not None:
        raise PageError(f"declares the entity {entity.name!r}; files with entities of their own are not read")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
