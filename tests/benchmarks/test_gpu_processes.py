"""Cases in processes of their own: what one of them does to itself is not done to the others."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import processes
from benchmarks.gpu.cases import Case, Place, Result
from benchmarks.gpu.rows import Row, summary, table

# Tells what benchmarks.gpu.child tells, and then does what the name of the case says.
CHILD = """
import faulthandler, json, os, signal, sys, time
faulthandler.enable()
faulthandler.register(signal.SIGUSR1)
folder, events, *names = sys.argv[1:]
if "does not begin" in names:
    raise ImportError("no such package")

def sleep_for_ever():
    time.sleep(600)

for name in names[1::2]:
    with open(events, "a") as handle:
        print(json.dumps({"event": "begin", "at": time.time()}), file=handle, flush=True)
        if name == "raises":
            raise RuntimeError("out of memory\\nand more")
        if name == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if name == "hangs":
            sleep_for_ever()
        result = {"found": "1.5", "wanted": "1 to 2", "passed": {"fits": True, "is off": False}.get(name), "facts": {}}
        print(json.dumps({"event": "end", "seconds": 0.1, "result": result}), file=handle, flush=True)
"""


def run(
    cases: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_s: float = 60.0, seconds: float = 120.0
) -> list[Row]:
    """The rows of cases of a section ``toy``."""
    (tmp_path / "child.py").write_text(CHILD, encoding="utf-8")
    declared = {name: Case(lambda place: Result(""), limit_s) for name in cases}
    monkeypatch.setattr(processes, "CHILD", (sys.executable, str(tmp_path / "child.py")))
    monkeypatch.setattr(processes, "SECTIONS", {"toy": declared})
    seen: list[Row] = []
    named = [("toy", name) for name in cases]
    rows = processes.run_cases(tmp_path, named, time.monotonic() + seconds, seen.append)
    assert seen == rows
    return rows


def test_an_error_and_a_crash_end_their_own_case_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run(["fits", "raises", "is off", "crashes", "does not apply"], tmp_path, monkeypatch)
    assert [row.state for row in rows] == ["ok", "failed", "off", "failed", "not run"]
    assert rows[1].found == "RuntimeError: out of memory"
    assert any("RuntimeError" in line for line in rows[1].said)
    assert rows[3].found.startswith("killed by SIGSEGV, File ")
    assert summary(rows) == "1 ok, 1 off, 2 failed, 1 not run"
    assert "| toy | fits | ok | 1.5 | 1 to 2 | 0.1 |" in table(rows)


def test_a_case_that_hangs_is_ended_and_says_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run(["hangs", "fits"], tmp_path, monkeypatch, limit_s=3)
    assert [row.state for row in rows] == ["failed", "ok"]
    assert rows[0].found.startswith("no end within 3 s, ")
    assert rows[0].found.endswith("in sleep_for_ever")


def test_what_has_not_begun_when_the_time_is_over_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run(["hangs", "fits"], tmp_path, monkeypatch, seconds=2)
    assert [row.state for row in rows] == ["failed", "not run"]
    assert {row.found.split(",")[0] for row in rows} == {"the time of its section was over"}


def test_a_process_that_does_not_even_begin_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run(["fits", "does not begin"], tmp_path, monkeypatch)
    assert [row.state for row in rows] == ["failed", "failed"]
    assert {row.found for row in rows} == {"ImportError: no such package"}


def test_a_place_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "config", depth=2).settled("cuda", "model")
    place.write()
    assert Place.read(tmp_path) == place
