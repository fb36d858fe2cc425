"""Pages of PDF files: their size, their pixels and their text layer, one page at a time (pypdfium2)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

DPI = 200
"""Dots per inch at which a page becomes an image: A4 has 3.9 megapixels, of which the model takes 4.8 at most."""

_PATH = re.compile(r"(.+\.pdf)#page=([1-9]\d{0,8})", re.IGNORECASE | re.DOTALL)
_BLANKS = re.compile(r"[ \t\xa0]+")
_HYPHEN = re.compile(r"(?<=\w)\x02(?=\w)")
"""What PDFium makes of a hyphen and the line break after it."""


class PdfError(Exception):
    """A PDF or a page of it that cannot be read: one line that says why, without the file's name."""


def page_path(file: str, number: int) -> str:
    """How a page is named where the path of an image stands: ``a.pdf#page=3``, counted from 1."""
    return f"{file}#page={number}"


def split_page_path(path: str | None) -> tuple[str, int] | None:
    """(file, number) of a page's path; None for the path of anything else."""
    found = _PATH.fullmatch(path or "")
    return (found[1], int(found[2])) if found else None


def num_pages(file: str) -> int:
    """How many pages a PDF has. Raises ``PdfError``."""
    with _document(file) as document:
        return len(document)


def page_size(file: str, number: int) -> tuple[int, int]:
    """(height, width) in pixels of a page at ``DPI``; nothing is drawn. Raises ``PdfError``."""
    with _page(file, number) as page:
        width, height = page.get_size()
        return math.ceil(height * DPI / 72), math.ceil(width * DPI / 72)


def draw_page(file: str, number: int) -> Image.Image:
    """A page as RGB at ``DPI``. Raises ``PdfError``."""
    with _page(file, number) as page:
        drawn: Image.Image = page.render(scale=DPI / 72).to_pil().convert("RGB")
        return drawn


def page_texts(file: str) -> list[str]:
    """The text layer of each page, "" where a page has none. Raises ``PdfError``."""
    with _document(file) as document:
        return [_text_layer(page) for page in document]


def has_unmapped(text: str) -> bool:
    """Whether a text layer has characters that its fonts give no meaning: controls, private use, replacements."""
    return any(
        letter == "\ufffd" or unicodedata.category(letter) in ("Cc", "Co", "Cn") for letter in text if letter != "\n"
    )


def _text_layer(page: Any) -> str:
    layer = page.get_textpage()
    try:
        text = _HYPHEN.sub("-\n", layer.get_text_bounded().replace("\r\n", "\n").replace("\r", "\n"))
    finally:
        layer.close()
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip()


@contextmanager
def _document(file: str) -> Iterator[Any]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(file)
    except (pypdfium2.PdfiumError, OSError) as error:
        raise PdfError(" ".join(str(error).split())) from error
    try:
        yield document
    except pypdfium2.PdfiumError as error:
        raise PdfError(" ".join(str(error).split())) from error
    finally:
        document.close()


@contextmanager
def _page(file: str, number: int) -> Iterator[Any]:
    with _document(file) as document:
        if number > len(document):
            raise PdfError(f"has no page {number}, only {len(document)}")
        page = document[number - 1]
        try:
            yield page
        finally:
            page.close()
