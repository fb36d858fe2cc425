"""Hooks of the site: links to files outside ``docs/`` lead to GitHub, and a flag is not broken at its hyphens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

CLONE = Path(__file__).parents[1]
INLINE_CODE = re.compile(r"<code>[^<]*</code>")
FLAG = re.compile(r"--[\w-]+")
LINK = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """The page with those links made absolute.

    Raises:
        FileNotFoundError: one of them leads nowhere
    """

    def absolute(match: re.Match[str]) -> str:
        kind = "tree" if (CLONE / match[1]).resolve(strict=True).is_dir() else "blob"
        return f"]({config.extra['repository']}/{kind}/main/{match[1]}"

    return LINK.sub(absolute, markdown)


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The page with each flag in inline code kept on one line; references of arguments in a box of their own."""

    def kept(match: re.Match[str]) -> str:
        return FLAG.sub(r'<span class="flag">\g<0></span>', match[0])

    html, name = INLINE_CODE.sub(kept, html), Path(page.file.src_path).stem
    return f'<div class="arguments arguments-{name}">{html}</div>' if name in ("cli", "sft-arguments") else html
