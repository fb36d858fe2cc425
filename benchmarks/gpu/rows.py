"""What came of each case, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

OK, OFF, FAILED, NOT_RUN = "ok", "off", "failed", "not run"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        state: ``ok``; ``off``: a figure is not as wanted; ``failed``: an error, a crash, or no end in time;
            ``not run``: it does not apply here, or the time was over.
        found: what was found, or the error in one line.
        said: the last lines of a process that failed.
    """

    section: str
    case: str
    state: str
    found: str
    wanted: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        return [self.section, self.case, self.state, self.found, self.wanted, f"{self.seconds:.1f}"]


def state_of(passed: bool | None) -> str:
    """The state of a case that came to its end."""
    return NOT_RUN if passed is None else OK if passed else OFF


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| section | case | state | found | wanted | s |", "|---|---|---|---|---|--:|"]
    return "\n".join([*lines, *("| " + " | ".join(row.cells()) + " |" for row in rows)])


def summary(rows: Sequence[Row]) -> str:
    """How many cases ended how."""
    counts = {state: sum(row.state == state for row in rows) for state in (OK, OFF, FAILED, NOT_RUN)}
    return ", ".join(f"{count} {state}" for state, count in counts.items())
