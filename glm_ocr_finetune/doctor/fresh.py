"""A program in a fresh process: what is broken breaks there, and a hanging one is ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 600.0
PACKAGE = __name__.partition(".")[0]
CLONE = Path(__file__).parents[2]  # or where packages are installed: either way the package is found there


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        answer: the JSON object of its last line; None where it failed.
        why: why it failed, in one line: its last words.
    """

    answer: dict[str, Any] | None
    why: str = ""


def run_module(module: str, *words: str, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Run a module of this package that prints a JSON object as its last line."""
    return _run(["-m", f"{PACKAGE}.{module}", *words], timeout_s)


def import_in_vain(package: str) -> str | None:
    """Why a package cannot be imported; None when it can."""
    outcome = _run(["-c", f"import {package}; print('{{}}')"], TIMEOUT_S)
    return None if outcome.answer is not None else outcome.why


def _run(words: list[str], timeout_s: float) -> Outcome:
    paths = [str(CLONE), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *words], env=env, capture_output=True, text=True, errors="replace", timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, f"no end after {timeout_s:.0f} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return Outcome(json.loads(lines[-1]))
    return Outcome(None, last_words(done.stderr) or f"exit code {done.returncode}")


def last_words(text: str) -> str:
    """The line of a traceback or message that names the fault: the last one that starts at the margin."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return lines[-1][:300] if lines else ""
