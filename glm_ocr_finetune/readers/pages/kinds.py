"""Which page format a file is of, and the parser of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .abbyy import parse_abbyy
from .alto import parse_alto
from .hocr import parse_hocr
from .layout import Page, PageError
from .page_xml import parse_page_xml
from .tesseract import TSV_COLUMNS, parse_box, parse_tsv
from .xml_input import HEAD, Element, first_tag, local_name, parse_xml

_LARGEST = 256 << 20
"""Bytes of the largest page file that is opened; a newspaper page with a glyph an element has 30 MB."""
_OCR_PAGE = re.compile(r"""class\s*=\s*["'][^"']*\bocr_page\b""")


@dataclass(frozen=True)
class Kind:
    """A page format: its name, and the parser of a file's bytes, which raises ``PageError``."""

    name: str
    parse: Callable[[bytes], list[Page]]


def _xml(name: str, parse: Callable[[Element], list[Page]]) -> Kind:
    return Kind(name, lambda data: parse(parse_xml(data)))


PAGE_XML, ALTO, ABBYY = _xml("PAGE XML", parse_page_xml), _xml("ALTO", parse_alto), _xml("ABBYY XML", parse_abbyy)
HOCR, TSV, BOX = Kind("hOCR", parse_hocr), Kind("Tesseract TSV", parse_tsv), Kind("Tesseract box", parse_box)
KINDS = (PAGE_XML, ALTO, HOCR, ABBYY, TSV, BOX)
"""In the order in which they are preferred where several describe one page."""

METS = "METS"


def kind_of(path: str | Path) -> Kind | str | None:
    """The format of a file by its first bytes; ``METS``; None for any other file.

    Raises ``PageError`` for a file that ends in .xml and is not XML.
    """
    suffix = Path(path).suffix.lower()
    head = _head(path)
    if suffix == ".tsv":
        return TSV if _starts_as_tsv(head) else None
    if suffix == ".box":
        return BOX
    if suffix in (".hocr", ".html", ".htm", ".xhtml"):
        return HOCR if _is_hocr(head) else None
    return _kind_of_xml(head)


def read_pages(path: str | Path, kind: Kind) -> list[Page]:
    """The pages of a file. Raises ``PageError``."""
    return kind.parse(read_file(path))


def read_file(path: str | Path) -> bytes:
    """The bytes of a page file. Raises ``PageError`` when there are too many, or they cannot be read."""
    try:
        if Path(path).stat().st_size > _LARGEST:
            raise PageError(f"larger than {_LARGEST >> 20} MiB")
        return Path(path).read_bytes()
    except OSError as error:
        raise PageError(f"cannot be opened: {error.strerror}") from error


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise PageError(f"cannot be opened: {error.strerror}") from error


def _starts_as_tsv(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").startswith(TSV_COLUMNS.encode())


def _is_hocr(head: bytes) -> bool:
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1", "ignore")
    return _OCR_PAGE.search(text) is not None


def _kind_of_xml(head: bytes) -> Kind | str | None:
    if not head.strip(b" \t\r\n\0"):
        raise PageError("the file is empty")
    tag = first_tag(head)
    if tag is None:
        raise PageError("not XML: there is no tag in it")
    name = local_name(tag).lower()
    if name == "document":
        return ABBYY if b"abbyy" in head.lower().replace(b"\0", b"") else None
    if name == "html":
        return HOCR if _is_hocr(head) else None
    roots: dict[str, Kind | str] = {"pcgts": PAGE_XML, "alto": ALTO, "mets": METS}
    return roots.get(name)
