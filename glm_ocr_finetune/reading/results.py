"""One answer to one scan, and the line that is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .scans import Scan


@dataclass(frozen=True)
class Answer:
    """What was read.

    Attributes:
        stopped: the model ended the answer itself.
        looped: it was ended because it repeated itself.
        tokens: of the answer; None where the server does not say.
        seconds: from the start of its batch or request to its end.
    """

    text: str
    stopped: bool
    looped: bool
    tokens: int | None
    seconds: float


def line_of(scan: Scan, answer: Answer | Exception, model: str, prompt: str) -> dict[str, Any]:
    """What the journal keeps: with ``error`` where nothing was read."""
    named = {"id": scan.id, "document": scan.document, "page": scan.page}
    if isinstance(answer, Exception):
        return named | {"error": str(answer)}
    return named | {
        "text": answer.text,
        "stopped": answer.stopped,
        "looped": answer.looped,
        "tokens": answer.tokens,
        "seconds": round(answer.seconds, 3),
        "model": model,
        "prompt": scan.prompt or prompt,
    }


def read_results(file: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file of results, one after another."""
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
