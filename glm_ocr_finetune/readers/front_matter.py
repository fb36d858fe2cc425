"""The block of YAML above a Markdown text, as olmOCR writes it: no part of the text, but it may say the page is turned."""

from __future__ import annotations

import re

_BLOCK = re.compile(r"\A---[ \t]*\n(.*?\n)?---[ \t]*(\n|\Z)", re.DOTALL)
_ROTATION = re.compile(r"^rotation_correction:\s*(\d+)", re.MULTILINE)


def split_front_matter(text: str) -> tuple[str | None, str]:
    r"""(the block without its rules, the text below it); None where a text with ``\n`` line ends has no block."""
    found = _BLOCK.match(text)
    return (found[1] or "", text[found.end() :]) if found else (None, text)


def is_turned(block: str | None) -> bool:
    """Whether the text is of a page that was turned upright first, which its image is not."""
    turned = _ROTATION.search(block or "")
    return turned is not None and int(turned[1]) % 360 != 0
