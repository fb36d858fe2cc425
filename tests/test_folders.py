"""Names of files, each in one place: what a run writes is what the report looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_ocr_finetune.folders import TUNED_READINGS, kept_for_later, readings_file


def test_readings_of_a_run() -> None:
    assert readings_file(Path("run"), TUNED_READINGS) == Path("run/evaluation/tuned.jsonl")


def test_what_is_kept_follows_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_for_later("vision") == tmp_path / "glm-ocr-finetune" / "vision"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert kept_for_later("surveys") == tmp_path / "home" / ".cache" / "glm-ocr-finetune" / "surveys"
