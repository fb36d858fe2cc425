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
        archive.write(folder / "book.pdf", "book.pdf")
        archive.writestr("x/bad.png", b"no image")
    assert names(folder, "z.zip")[-2:] == ["z.zip/x/b.png", "z.zip/x/bad.png"]
    *pages, b, bad = scans_of_files([str(folder / "z.zip")])
    assert [page.name for page in pages] == [f"{folder}/z.zip/book.pdf page {number}" for number in (1, 2, 3, 4)]
    assert b.open().size == (140, 56)
    assert min(pages[3].open().size) > 56  # drawn at 200 dots an inch
    assert bad.problem == f"{folder}/z.zip/x/bad.png: no image in a format that is read"


@pytest.mark.parametrize(("pages", "expected"), [("2", [2]), ("1-2,4", [1, 2, 4]), ("3-", [3, 4])])
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


def test_a_damaged_file_is_told_of_whatever_pages_are_wanted(folder: Path) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    found = list(scans_of_files([str(folder / "bad.pdf"), str(folder / "book.pdf")], pages="9,2"))
    assert [(Path(scan.document).name, scan.page, bool(scan.problem)) for scan in found] == [
        ("bad.pdf", 1, True),
        ("book.pdf", 2, False),
    ]


def test_what_a_list_names_and_is_not_there_fails_alone(folder: Path) -> None:
    (folder / "list.txt").write_text("b.png\nmissing.png\nmissing.pdf\nno*.png\nb.png\n", encoding="utf-8")
    found = list(scans_of_files([str(folder / "list.txt"), str(folder / "b.png")]))
    assert [scan.problem for scan in found] == [
        None,
        *(f"{name}: no such file" for name in ("missing.png", "missing.pdf", "no*.png")),
    ]
    assert [scan.id for scan in found][:2] == [str(folder / "b.png"), "missing.png"]


def test_what_was_said_is_not_said_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    said: set[str] = set()
    for _ in range(3):
        list(scans_of_files([str(folder)], said=said))
    assert [record.message for record in caplog.records] == [f"{folder}: 3 files; left out: 1 folder, 1 .md"]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("nowhere.png", {}, "nowhere.png does not exist"),
        ("*.gif", {}, r"\*.gif does not exist"),
        ("book.pdf", {"pages": "1,x"}, "--pages 1,x cannot be understood"),
        ("book.pdf", {"pages": "3-1"}, "--pages 3-1: 3-1 holds no page; pages count from 1"),
        ("book.pdf", {"pages": "1,0"}, "--pages 1,0: 0 holds no page"),
        ("book.pdf", {"pages": "1,5,7-"}, "--pages 5,7-: no document has such a page; the longest has 4 pages"),
        ("lists/self.txt", {}, "self.txt:2 names the list itself"),
        ("lists/empty.txt", {}, "empty.txt:1: .*empty is a folder without images; found: 1 .md"),
        ("lists/latin.txt", {}, "latin.txt is no list of paths in UTF-8"),
        ("empty.zip", {}, "empty.zip is a zip without images; found: 1 .md"),
        ("empty", {}, "a folder without images; found: 1 .md"),
    ],
)
def test_what_is_refused(folder: Path, given: str, options: dict[str, str], message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "empty" / "a.md").write_text("x", encoding="utf-8")
    (folder / "lists").mkdir()
    for name, lines in (("self", b"../b.png\nself.txt\n"), ("empty", b"../empty\n"), ("latin", b"\xe9.png\n")):
        (folder / "lists" / f"{name}.txt").write_bytes(lines)
    with zipfile.ZipFile(folder / "empty.zip", "w") as archive:
        archive.write(folder / "empty" / "a.md", "a.md")
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
