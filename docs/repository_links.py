"""A hook of the site: links from a page to a file of the repository outside ``docs/`` lead to GitHub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

CLONE = Path(__file__).parents[1]
LINK = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """The page with those links made absolute.

    Raises:
        FileNotFoundError: one of them leads nowhere
    """

    def absolute(match: re.Match[str]) -> str:
        kind = "tree" if (CLONE / match[1]).resolve(strict=True).is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{match[1]}"

    return LINK.sub(absolute, markdown)
