"""What is read: files, folders, patterns, lists, PDFs, TIFFs, zips, and shares of these."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from drawing import draw_line

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import ImageError
from glm_ocr_finetune.reading.scans import scans_of_files, shard, shard_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep" / "ß ø").mkdir(parents=True)
    draw_line("a").save(tmp_path / "in" / "b.png")
    draw_line("a").save(tmp_path / "in" / "A.JPG")
    draw_line("a").save(tmp_path / "in" / "deep" / "ß ø" / "ψ.png")
    (tmp_path / "in" / "notes.md").write_text("x", encoding="utf-8")
    pages = [draw_line(str(number)).convert("RGB") for number in range(6)]
    pages[0].save(tmp_path / "in" / "book.pdf", save_all=True, append_images=pages[1:4])
    pages[4].save(tmp_path / "in" / "deep" / "two.tif", save_all=True, append_images=pages[5:])
    return tmp_path / "in"


def names(folder: Path, *given: str, **options: object) -> list[str]:
    found = scans_of_files([str(folder / name) for name in given], **options)  # type: ignore[arg-type]
    return [Path(scan.id).relative_to(folder).as_posix() for scan in found]


def test_a_folder_and_all_below_it(folder: Path) -> None:
    pdf = [f"book.pdf#page={number}" for number in (1, 2, 3, 4)]
    assert names(folder, "") == ["A.JPG", "b.png", *pdf]
    below = ["deep/two.tif#page=1", "deep/two.tif#page=2", "deep/ß ø/ψ.png"]
    assert names(folder, "", recursive=True) == ["A.JPG", "b.png", *pdf, *below]


def test_patterns_lists_and_zips(folder: Path) -> None:
    assert names(folder, "**/*.png") == ["b.png", "deep/ß ø/ψ.png"]
    (folder / "list.txt").write_text("\ufeffb.png\n\n  deep/ß ø/ψ.png \r\n", encoding="utf-8")
    assert names(folder, "list.txt") == ["b.png", "deep/ß ø/ψ.png"]
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.write(folder / "b.png", "x/b.png")
    (only,) = scans_of_files([str(folder / "z.zip")])
    assert Path(only.id).name == "b.png"
    assert only.open().size == (140, 56)


@pytest.mark.parametrize(("pages", "expected"), [("2", [2]), ("1-2,4", [1, 2, 4]), ("3-", [3, 4]), ("9", [])])
def test_page_ranges(folder: Path, pages: str, expected: list[int]) -> None:
    assert names(folder, "book.pdf", pages=pages) == [f"book.pdf#page={number}" for number in expected]


def test_pages_are_the_pictures_they_name(folder: Path) -> None:
    first, second = scans_of_files([str(folder / "deep" / "two.tif")])
    assert (first.name, second.name) == (f"{folder}/deep/two.tif page 1", f"{folder}/deep/two.tif page 2")
    assert second.open().convert("L").tobytes() == draw_line("5").tobytes()
    assert first.open().convert("L").tobytes() == draw_line("4").tobytes()


def test_a_damaged_file_is_one_scan_that_says_why(folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    (scan,) = scans_of_files([str(folder / "bad.pdf")])
    assert scan.problem
    with pytest.raises(ImageError, match="Data format error"):
        scan.open()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("nowhere.png", {}, "nowhere.png does not exist"),
        ("*.gif", {}, r"\*.gif does not exist"),
        ("book.pdf", {"pages": "1,x"}, "--pages 1,x cannot be understood"),
        ("empty", {}, "a folder without images; found: 1 .md"),
    ],
)
def test_what_is_refused(folder: Path, given: str, options: dict[str, str], message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "a.md").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        names(folder, given, **options)


def test_shares_are_disjoint_and_whole(folder: Path) -> None:
    whole = names(folder, "", recursive=True)
    parts = [[scan.id for scan in shard(scans_of_files([str(folder)], recursive=True), f"{k}/4")] for k in (1, 2, 3, 4)]
    assert sorted(name for part in parts for name in part) == sorted(str(folder / name) for name in whole)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for wrong in ("0/4", "5/4", "1", "a/b"):
        with pytest.raises(UserError, match="expected k/n"):
            shard_of(wrong)
