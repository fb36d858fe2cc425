"""What a look at one thing gave, and the table of all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "BROKEN"]


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        what: was looked at.
        found: in words.
        state: ``note`` where something is missing that not everybody needs.
        mend: the command that mends it, or what to do; None where nothing is to be mended.
    """

    what: str
    found: str
    state: State = "ok"
    mend: str | None = None


def faults(findings: Iterable[Finding]) -> list[Finding]:
    """What is broken and needed."""
    return [one for one in findings if one.state == "BROKEN"]


def table(findings: Sequence[Finding]) -> str:
    """A Markdown table whose columns also line up as plain text; notes have what to do about them."""
    rows = [("what", "found", "")]
    rows += [(one.what, _with_hint(one), one.state) for one in findings]
    cells = [[_cell(text) for text in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _with_hint(one: Finding) -> str:
    return f"{one.found}: {one.mend}" if one.state == "note" and one.mend else one.found


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def shown_path(path: str | Path) -> str:
    """A path without the name of the user's home, which need not be published."""
    home, text = os.path.expanduser("~"), str(path)
    return f"~{text[len(home) :]}" if home != "/" and (text == home or text.startswith(home + os.sep)) else text
