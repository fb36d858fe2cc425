"""Cases in processes of their own: what fails, crashes or hangs ends its process, and another one goes on behind it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..peers.running import ROOT
from .rows import FAILED, NOT_RUN, Row, state_of
from .sections import SECTIONS

START_S = 150.0  # until a process has imported everything and its first case begins
POLL_S = 0.1
SAID_LINES = 30
CHILD = (sys.executable, "-m", "benchmarks.gpu.child")

Named = tuple[str, str]  # section and case


def run_cases(folder: Path, cases: Sequence[Named], deadline: float, report: Callable[[Row], None]) -> list[Row]:
    """A row for each case; what has not begun at ``deadline``, a ``time.monotonic``, is not run."""
    rows: list[Row] = []
    while len(rows) < len(cases):
        left = cases[len(rows) :]
        found = run_process(folder, left, deadline) if time.monotonic() < deadline else out_of_time(left)
        for row in found:
            report(row)
        rows += found
    return rows


def out_of_time(cases: Sequence[Named]) -> list[Row]:
    """Rows of cases for which no time is left."""
    return [Row(section, case, NOT_RUN, "the time of its section was over") for section, case in cases]


def run_process(folder: Path, cases: Sequence[Named], deadline: float) -> list[Row]:
    """Rows of the cases that one process came through, and of the one in which it ended before its time.

    A process that does not even begin would not do so again: then all cases have failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        events, log = Path(scratch) / "events.jsonl", Path(scratch) / "log"
        command = [*CHILD, str(folder), str(events), *(word for named in cases for word in named)]
        with log.open("w", encoding="utf-8") as handle:
            process = subprocess.Popen(
                command,
                stdout=handle,
                stderr=handle,
                cwd=ROOT,
                env=environment(folder),
                start_new_session=True,
            )
            try:
                late = wait(process, events, cases, deadline)
            finally:
                end(process)
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return rows_of(cases, read_events(events), late, process.returncode, said)


def environment(folder: Path) -> dict[str, str]:
    """No network, and caches that are not the user's."""
    return os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(folder / "huggingface"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_MODE": "disabled",
    }


def wait(process: subprocess.Popen[Any], events: Path, cases: Sequence[Named], deadline: float) -> str:
    """Until the process ends, or has to: then what it took too long for."""
    started = time.time()
    while process.poll() is None:
        time.sleep(POLL_S)
        seen = read_events(events)
        begun = [event["at"] for event in seen if event["event"] == "begin"]
        ended = len(seen) - len(begun)
        limit = START_S
        if len(begun) > ended:
            section, case = cases[ended]
            limit = SECTIONS[section][case].limit_s
        since = begun[-1] if begun else started
        if time.monotonic() > deadline:
            return "the time of its section was over"
        if time.time() - since > limit:
            return f"no end within {limit:.0f} s"
    return ""


def end(process: subprocess.Popen[Any]) -> None:
    """Have a process that still runs print where it is, then kill it with all its children."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_events(file: Path) -> list[dict[str, Any]]:
    """What the process has told so far, whole lines only."""
    if not file.exists():
        return []
    *lines, _ = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines]


def rows_of(
    cases: Sequence[Named], events: Sequence[dict[str, Any]], late: str, code: int | None, said: list[str]
) -> list[Row]:
    """The rows behind the events of a process, and that of the case it ended in."""
    rows = [
        Row(section, case, state_of(event["result"].pop("passed")), seconds=event["seconds"], **event["result"])
        for (section, case), event in zip(cases, (one for one in events if one["event"] == "end"), strict=False)
    ]
    if len(rows) == len(cases):
        return rows
    why = ", ".join(part for part in (late or killed_by(code), last_line(said)) if part) or f"ended with code {code}"
    failed = cases[len(rows) :] if not events else cases[len(rows) : len(rows) + 1]
    return rows + [Row(section, case, FAILED, why, said=said[-SAID_LINES:]) for section, case in failed]


def killed_by(code: int | None) -> str:
    """The signal that ended a process, if one did."""
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else ""


def last_line(said: Sequence[str]) -> str:
    """The error of the last traceback; or the innermost line of a process that was made to say where it is."""
    for index in reversed(range(len(said))):
        if said[index].startswith("Traceback (most recent call last)"):
            return next((line for line in said[index + 1 :] if line and not line.startswith(" ")), "")
        if "(most recent call first)" in said[index]:
            return " ".join(said[index + 1].split()) if index + 1 < len(said) else ""
    return ""
