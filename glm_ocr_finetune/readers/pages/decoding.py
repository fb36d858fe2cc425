"""Bytes of text files as text."""

from __future__ import annotations

import re

from .layout import PageError

_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_DECLARED = re.compile(rb"""(?:encoding|charset)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_HEAD = 2048


def decode(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 with its mark. Raises ``PageError``."""
    return _decode(data, _marked(data) or "utf-8")


def decode_html(data: bytes) -> str:
    """HTML in the encoding that its mark or its head declares, else in UTF-8. Raises ``PageError``."""
    declared = _DECLARED.search(data[:_HEAD])
    return _decode(data, _marked(data) or (declared[1].decode("ascii") if declared else "utf-8"))


def _marked(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise PageError(f"not {encoding.upper()}: {error.reason} at byte {error.start}") from error
    except LookupError as error:
        raise PageError(f"declares the encoding {encoding!r}, which is not known") from error
