"""Programs in fresh processes: an answer, or why there is none, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_ocr_finetune.doctor.fresh import import_in_vain, last_words, run_module


def test_a_broken_package_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cracked.py").write_text("import no_such_module\n", encoding="utf-8")
    (tmp_path / "dead.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_in_vain("json") is None
    assert import_in_vain("cracked") == "ModuleNotFoundError: No module named 'no_such_module'"
    assert import_in_vain("dead") == "exit code -6"


def test_what_hangs_is_ended() -> None:
    assert run_module("doctor.gpu", timeout_s=0.05).why == "no end after 0 s"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("warning\nTraceback (most recent call last):\n  File x\nOSError: no\n\n", "OSError: no"),
        ("ValueError: first\n  second line of it\n", "ValueError: first"),
    ],
)
def test_last_words(text: str, words: str) -> None:
    assert last_words(text) == words
