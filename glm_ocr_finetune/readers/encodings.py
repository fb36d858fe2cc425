"""How a text file is encoded, and its text: files come from Excel, PowerShell and machines of other countries."""

from __future__ import annotations

import codecs
import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import TextIO

from ..errors import UserError

logger = logging.getLogger(__name__)

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_HEAD = 4096
_LONG_HEAD = 1 << 16
_BLOCK = 1 << 20
_MOSTLY = 0.9  # share of the NUL bytes of UTF-16 that lie on one side of the pairs
_FOREIGN = 0.5  # share of characters beyond ASCII, in words that have one, of a text in another encoding

_WORD = re.compile(r"[0-9A-Za-z\x80-\uffff]+")
_TYPOGRAPHY = re.compile("[\u2018-\u201e\u2013\u2014\u2026\u2022\u20ac\u2039\u203a\xa0\xa3\xa7\xab\xb0\xbb]")
_SIGN_IN_A_WORD = re.compile(r"(?<=[^\W\d_])[\xa1-\xac\xae-\xb6\xb8\xb9\xbb-\xbf\xd7\xf7](?=[^\W\d_])")
"""What letters of other code pages become in Windows-1252: the Polish ``ł`` a small ``³``."""


def open_text(file: Path, newline: str | None = None) -> TextIO:
    """The file as text in its own encoding; bytes that are no text become lone surrogates, and so bad rows.

    ``newline`` as in ``open``. Raises ``UserError`` for an encoding that cannot be told.
    """
    return open(file, encoding=encoding_of(file), errors="surrogateescape", newline=newline)


def read_head(file: Path) -> str:
    """The first part of a file as text, to find out what it is; nothing is said and nothing raised."""
    try:
        with open(file, "rb") as stream:
            head = stream.read(_LONG_HEAD)
    except OSError:
        return ""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None) or _unmarked_utf16(head[:_HEAD])
    return head.decode(marked or "utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(file: Path) -> str:
    """The encoding of a file; see ``_encoding_of``."""
    state = file.stat()
    return _encoding_of(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _encoding_of(file: Path, size: int, changed_ns: int) -> str:
    """UTF-8, UTF-16 or UTF-32 with a byte order mark, UTF-16 without one, UTF-8, or else Windows-1252, which is said.

    Raises ``UserError`` for a text that would be nonsense in Windows-1252.
    """
    with open(file, "rb") as stream:
        head = stream.read(_HEAD)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None) or _unmarked_utf16(head)
    if marked is not None:
        return marked
    return "utf-8" if _is_mostly_utf8(file) else _windows(file)


def _unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, known by the NUL bytes of its ASCII characters."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if even + odd <= len(head) / 8:
        return None
    little = odd / (even + odd)
    return "utf-16-le" if little >= _MOSTLY else "utf-16-be" if little <= 1 - _MOSTLY else None


def _is_mostly_utf8(file: Path) -> bool:
    """Whether characters beyond ASCII are UTF-8 more often than not: one bad row does not change an encoding."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
    good = bad = 0
    with open(file, "rb") as stream:
        while block := stream.read(_BLOCK):
            text = decoder.decode(block)
            if not text.isascii():
                escaped = sum("\udc80" <= character <= "\udcff" for character in text)
                bad += escaped
                good += sum(character > "\x7f" for character in text) - escaped
    return bad <= good


def _windows(file: Path) -> str:
    text = _western(file.read_bytes())
    if text is None:
        raise UserError(f"{file} is neither UTF-8 nor Western European Windows-1252; convert it to UTF-8")
    logger.warning("%s is not UTF-8: read as Windows-1252; convert it to UTF-8 if letters come out wrong", file)
    return "cp1252"


def _western(data: bytes) -> str | None:
    """The text in Windows-1252; None when words in it would be made of foreign letters or signs."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    words = [word for word in _WORD.findall(_TYPOGRAPHY.sub(" ", text)) if not word.isascii()]
    beyond = sum(character > "\x7f" for word in words for character in word)
    foreign = beyond > _FOREIGN * sum(map(len, words))
    return None if foreign or _SIGN_IN_A_WORD.search(text) else text


def decoded(data: bytes) -> tuple[str | None, str]:
    """(text of a small file, its encoding); the text is None when it cannot be told."""
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None) or _unmarked_utf16(data[:_HEAD])
    try:
        return data.decode(marked or "utf-8"), marked or "utf-8"
    except UnicodeDecodeError:
        return (None, "unknown") if marked else (_western(data), "cp1252")
