"""The table of a doctor's findings: Markdown that lines up, and nobody's name in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glm_ocr_finetune.doctor.findings import Finding, faults, shown_path, table

FINDINGS = [
    Finding("torch", "2.14.1"),
    Finding("wandb", "missing", "note", "pip install wandb"),
    Finding("trl", "0.9 | older\nthan old", "BROKEN", "pip install -U 'trl>=1.16'"),
]


def test_the_table_lines_up_and_is_markdown() -> None:
    lines = table(FINDINGS).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].replace("-", "") == "||||"
    cells = [[cell.strip() for cell in line.replace("\\|", "!").strip("|").split("|")] for line in lines[2:]]
    assert cells == [
        ["torch", "2.14.1", "ok"],
        ["wandb", "missing: pip install wandb", "note"],
        ["trl", "0.9 ! older than old", "BROKEN"],
    ]


def test_only_what_is_broken_is_a_fault() -> None:
    assert [one.what for one in faults(FINDINGS)] == ["trl"]


def test_the_home_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert shown_path(Path("/home/somebody/.cache")) == f"~{os.sep}.cache"
    assert shown_path("/home/somebody") == "~"
    assert shown_path("/home/somebody-else/x") == "/home/somebody-else/x"
