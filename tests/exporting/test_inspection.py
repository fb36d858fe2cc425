"""Every planted fault is told from looking at the files; what was written has none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import FAULTS, edit_json

from glm_ocr_finetune.exporting.inspection import INDEX_FILE, Expected, faults


def test_what_was_written_is_as_expected(written: tuple[Path, Expected]) -> None:
    folder, expected = written
    assert (folder / INDEX_FILE).is_file()
    assert len(expected.tensors) == 126
    assert faults(folder, expected) == []


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_named(
    plant: Callable[[Path], None], written: tuple[Path, Expected], tmp_path: Path
) -> None:
    folder, expected = written
    shutil.copytree(folder, tmp_path / "export")
    plant(tmp_path / "export")
    found = faults(tmp_path / "export", expected)
    assert any(re.search(FAULTS[plant], line) for line in found), found


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"]
)
def test_a_file_that_is_gone_is_named(name: str, written: tuple[Path, Expected], tmp_path: Path) -> None:
    folder, expected = written
    shutil.copytree(folder, tmp_path / "export")
    (tmp_path / "export" / name).unlink()
    assert f"{name} is missing" in faults(tmp_path / "export", expected)


def test_an_index_that_lists_something_else_is_told(written: tuple[Path, Expected], tmp_path: Path) -> None:
    folder, expected = written
    shutil.copytree(folder, tmp_path / "export")
    edit_json(tmp_path / "export" / INDEX_FILE, lambda index: index["weight_map"].popitem())
    assert faults(tmp_path / "export", expected) == [f"{INDEX_FILE} does not list the tensors that are there"]
