"""``python -m benchmarks.gpu`` on a CPU: every section with the tiny model, so that it is ready when a GPU is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.sections import LIMITS_S, SECTIONS

# What a CPU cannot show, by the beginning of the reason.
NEEDS_MORE = {
    "variable-length kernel against each sample on its own": "no kernel of variable length here",
    "compiled layers against uncompiled": "no kernel of variable length here",
    "compiled layers against uncompiled, LoRA": "no kernel of variable length here",
    "lines, LoRA, LLaMA-Factory": "no --llamafactory",
    **{
        f"{kind}, {mode}, round {number}": "one round of lines is enough"
        for kind, number in (("pages", 1), ("pages", 2), ("lines", 2))
        for mode in ("LoRA", "full")
    },
    **{
        f"{samples}, compiled layers": "--torch_compile needs a GPU"
        for samples in ("lines, LoRA", "lines, full", "pages, LoRA")
    },
}


def test_every_case_runs_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cpu.json"
    code = main(["--output", str(file), "--seconds", "1800"])
    shown = capsys.readouterr().out
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert [(row["section"], row["case"]) for row in rows] == [
        (name, case) for name in SECTIONS for case in SECTIONS[name]
    ]
    for row in rows:
        assert f"| {row['section']} | {row['case']} | {row['state']} | {row['found']} |" in shown
        if reason := NEEDS_MORE.get(row["case"]):
            assert row["found"].startswith(reason)
            assert row["state"] == "not run"
        else:
            assert row["state"] == "ok", row
    assert code == 0


def test_sections_take_thirteen_minutes_at_most() -> None:
    assert LIMITS_S.keys() == SECTIONS.keys()
    assert sum(LIMITS_S.values()) <= 13 * 60
