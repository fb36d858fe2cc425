"""Names of files, each in one place: what a run writes is what the report looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.folders import (
    TUNED_READINGS,
    check_new_folder,
    check_writable,
    kept_for_later,
    readings_file,
)


def test_readings_of_a_run() -> None:
    assert readings_file(Path("run"), TUNED_READINGS) == Path("run/evaluation/tuned.jsonl")


def test_what_is_kept_follows_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_for_later("vision") == tmp_path / "glm-ocr-finetune" / "vision"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert kept_for_later("surveys") == tmp_path / "home" / ".cache" / "glm-ocr-finetune" / "surveys"


def test_a_folder_that_can_be_written_is_made(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    check_new_folder(tmp_path / "a" / "c")
    assert not (tmp_path / "a" / "c").exists()


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_one_that_cannot_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    for check in (check_writable, check_new_folder):
        with pytest.raises(UserError, match=f"--output_dir {tmp_path / name} cannot be written: "):
            check(tmp_path / name)
    assert (tmp_path / "file").read_text() == "x"
