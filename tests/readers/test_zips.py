"""Zips of data sets that are no pages: unpacked into the cache, nothing outside it written."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from writing import picture, texts

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.readers import list_splits


def zipped(path: Path, **members: bytes | str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    return picture(tmp_path / "elsewhere" / "0.png").read_bytes()


@pytest.mark.parametrize("top", ["", "set/", "a/b/"])
def test_tables_lists_and_pairs(top: str, image: bytes, tmp_path: Path) -> None:
    table = {f"{top}images/0.png": image, f"{top}rows.csv": "image,text\nimages/0.png,amber\n"}
    assert texts(zipped(tmp_path / "table.zip", **table)) == ["amber"]
    pairs = {f"{top}images/0.png": image, f"{top}images/0.gt.txt": "cedar"}
    assert texts(zipped(tmp_path / "pairs.ZIP", **pairs)) == ["cedar"]
    labels = {f"{top}images/0.png": image, f"{top}rec_gt_train.txt": "images/0.png\tdogwood\n"}
    assert texts(zipped(tmp_path / "list.zip", **labels)) == ["dogwood"]


def test_splits_in_a_zip(image: bytes, tmp_path: Path) -> None:
    members = {f"set/{split}/a.png": image for split in ("train", "test")}
    members |= {f"set/{split}/a.txt": "amber" for split in ("train", "test")}
    assert sorted(list_splits(str(zipped(tmp_path / "a.zip", **members)))) == ["test", "train"]


def test_what_macos_adds_is_left_out(image: bytes, tmp_path: Path) -> None:
    members = {"set/a.png": image, "set/a.txt": "amber", "__MACOSX/set/._a.txt": "x", "__MACOSX/set/._a.png": b"x"}
    assert texts(zipped(tmp_path / "a.zip", **members)) == ["amber"]


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "C:\\evil.txt"])
def test_entries_that_lead_out_are_refused(name: str, image: bytes, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of the archive; it is not unpacked"):
        texts(zipped(tmp_path / "a.zip", **{"a.png": image, name: "x"}))


def test_zips_without_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing to read"):
        texts(zipped(tmp_path / "a.zip", **{"a.bin": b"x"}))
