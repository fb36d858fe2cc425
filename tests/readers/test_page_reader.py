"""From page files to rows: images found, coordinates scaled, samples named and grouped, nothing dropped unsaid."""

from __future__ import annotations

import json
import logging
import os
import shutil
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import page_files as write
import pytest
from page_files import LINES, SIZE, TEXTS, Box
from PIL import Image

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import open_upright, read_size
from glm_ocr_finetune.readers import PROBLEMS, list_splits, load_rows
from glm_ocr_finetune.readers.rows import image_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one page as PAGE XML."""
    write.draw_page(tmp_path / "set" / "p.png")
    write.write(tmp_path / "set" / "p.xml", write.page_xml())
    return tmp_path / "set"


def rows_of(path: Path, **options: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = load_rows(str(path), split="train", **options).to_list()
    assert {row["problem"] for row in rows} <= {*PROBLEMS, None}
    return rows


def problems(path: Path, **options: Any) -> list[str | None]:
    return [row["problem"] for row in rows_of(path, **options)]


def said(caplog: pytest.LogCaptureFixture, path: Path, **options: Any) -> str:
    caplog.clear()
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        rows_of(path, **options)
    return "\n".join(record.getMessage() for record in caplog.records)


# What is said


def test_one_line_says_what_was_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, folder) == "read as: PAGE XML, 1 page, 3 lines"
    assert said(caplog, folder) == "read as: PAGE XML, 1 page, 3 lines", "also when the table is stored already"
    assert said(caplog, folder, level="region") == "read as: PAGE XML, 1 page, 2 regions"
    assert said(caplog, folder, level="page") == "read as: PAGE XML, 1 page"
    write.draw_page(folder / "q.png")
    write.write(folder / "q.xml", write.alto(image="q.png"))
    assert said(caplog, folder) == "read as: PAGE XML and ALTO, 2 pages, 6 lines"


def test_a_file_that_has_changed_is_read_anew(folder: Path) -> None:
    assert len(rows_of(folder)) == 3
    write.write(folder / "p.xml", write.page_xml(write.page_region("r1", LINES[:1])))
    assert len(rows_of(folder)) == 1
    write.draw_page(folder / "p.png", (600, 400))
    assert rows_of(folder)[0]["region"] == [[20, 20], [220, 20], [220, 60], [20, 60]]


def test_what_is_not_read_is_said(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write.draw_page(folder / "spare.png")
    write.write(folder / "alto" / "p.xml", write.alto())
    write.write(folder / "metadata.xml", "<metadata/>")
    outside = write.write(tmp_path / "elsewhere" / "secret.xml", write.page_xml())
    (folder / "link.xml").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    text = said(caplog, folder)
    assert "another format describes the same pages: 1 ALTO" in text
    assert "links out of the data set): 2, e.g. link" in text
    assert "images that no page file describes: 1" in text
    assert text.endswith("read as: PAGE XML, 1 page, 3 lines")
    assert text == said(caplog, folder), "said again when it is read again"


def test_pages_described_twice_are_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write.write(folder / "p-lite.xml", write.page_xml(write.page_region("r1", LINES[:1])))
    text = said(caplog, folder)
    assert "pages described by two files, both read: 1, e.g. p-lite.xml and p.xml" in text
    assert "2 pages, 4 lines" in text


# Levels


def test_regions_whose_text_is_not_in_their_lines(folder: Path) -> None:
    untold = write.page_region("r2", LINES[2:]).replace(TEXTS[2], "")
    own = write.page_region("r3", [], write.page_text("heading\nof two lines"))
    write.write(folder / "p.xml", write.page_xml(write.page_region("r1", LINES[:1]) + untold + own))
    by_default = rows_of(folder)
    assert [(row["text"], row["problem"]) for row in by_default] == [
        (TEXTS[0], None),
        (None, "empty_label"),
        ("heading\nof two lines", None),
    ]
    assert problems(folder, level="line") == [None, "empty_label", "no_lines"]
    assert problems(folder, level="region") == [None, "not_transcribed", None]
    (page,) = rows_of(folder, level="page")
    assert page["problem"] == "partly_transcribed"


def test_the_regions_own_text_goes_before_its_lines(folder: Path) -> None:
    write.write(folder / "p.xml", write.page_xml(write.page_region("r1", LINES[:2], write.page_text("its own"))))
    assert [row["text"] for row in rows_of(folder, level="region")] == ["its own"]
    assert [row["text"] for row in rows_of(folder)] == TEXTS[:2]


@pytest.mark.parametrize("mark", ["~~~", "~~~ ~~~~ ~~~", "###", " ### ### "])
def test_placeholders_are_set_aside_by_name(folder: Path, mark: str) -> None:
    lines = [LINES[0], Box("l9", mark, 10, 40)]
    write.write(folder / "p.xml", write.page_xml(write.page_region("r1", lines)))
    assert problems(folder) == [None, "placeholder"]
    assert problems(folder, level="region") == problems(folder, level="page") == ["partly_transcribed"]
    write.write(folder / "p.xml", write.page_xml(write.page_region("r1", lines[1:])))
    assert problems(folder, level="page") == ["placeholder"]


@pytest.mark.parametrize("text", ["~", "# 3", "~~", "a ~~~ b", "###a"])
def test_what_only_looks_like_a_placeholder_is_a_label(folder: Path, text: str) -> None:
    write.write(folder / "p.xml", write.page_xml(write.page_region("r1", [Box("l", text, 10, 10)])))
    assert [(row["text"], row["problem"]) for row in rows_of(folder)] == [(text, None)]


def test_a_speck_without_text_does_not_spoil_a_page_but_gaps_do(folder: Path) -> None:
    def lines(told: int, untold: int) -> str:
        boxes = [Box(f"l{n}", "text" if n < told else "", 10, 10) for n in range(told + untold)]
        return write.page_xml(write.page_region("r1", boxes))

    write.write(folder / "p.xml", lines(9, 1))
    assert problems(folder, level="page") == [None]
    write.write(folder / "p.xml", lines(8, 2))
    assert problems(folder, level="page") == ["partly_transcribed"]


def test_an_empty_page_is_listed(folder: Path) -> None:
    write.write(folder / "p.xml", write.page_xml(""))
    for level in (None, "line", "region", "page"):
        assert problems(folder, level=level) == ["empty_page"]


def test_missing_coordinates_are_listed_but_for_whole_pages(folder: Path) -> None:
    body = (
        write.page_region("r1", LINES[:2])
        .replace(' points="10,40', ' points="', 1)
        .replace("0,0 140,0 140,100 0,100", "")
    )
    body = body.replace(' points=" 110,40 110,60 10,60"', "")
    write.write(folder / "p.xml", write.page_xml(body))
    assert problems(folder) == [None, "no_coordinates"]
    assert problems(folder, level="region") == [None], "the box of its lines"
    body = f'<TextRegion id="r1">{write.page_text("text")}</TextRegion>'
    write.write(folder / "p.xml", write.page_xml(body))
    assert problems(folder) == problems(folder, level="region") == ["no_coordinates"]
    assert problems(folder, level="page") == [None]


# Names and groups


def test_samples_have_names_of_their_own(folder: Path) -> None:
    lines = [Box("l1", "a", 0, 0), Box("l1", "b", 0, 30), Box("", "c", 0, 60), Box("", "d", 0, 90)]
    write.write(folder / "inner" / "p.xml", write.page_xml(write.page_region("r1", lines), image="../p.png"))
    (folder / "p.xml").unlink()
    names = [f"inner/p.xml:{name}" for name in ("l1", "l1 (2)", "line 1", "line 2")]
    assert [row["source"] for row in rows_of(folder)] == names
    assert {row["group"] for row in rows_of(folder)} == {"p.png"}
    assert [row["source"] for row in rows_of(folder, level="page")] == ["inner/p.xml"]


def test_two_files_of_one_image_are_one_group(folder: Path) -> None:
    shutil.copy(folder / "p.xml", folder / "p2.xml")
    assert {row["group"] for row in rows_of(folder)} == {"p.png"}
    (folder / "p.png").unlink()
    assert {row["group"] for row in rows_of(folder)} == {"p.xml", "p2.xml"}


# Images


@pytest.mark.parametrize(
    ("told", "file", "image"),
    [
        ("p.tif", "p.xml", "p.png"),
        ("p.png", "p.xml", "P.PNG"),
        ("p.jp2.jpg", "p.xml", "p.png"),
        ("007.nrm.png", "007.xml", "007.mono.png"),
        ("", "scan_1.page.xml", "scan_1.jpg"),
        ("C:\\scans\\box 3\\p.tif", "x.xml", "p.png"),
        ("//server/scans/p.png", "x.xml", "p.png"),
        ("https://example.org/iiif/p.png", "x.xml", "p.png"),
        ("\t\t\n", "p.xml", "p.png"),
        ("other.png", "p.xml", "p.jpg"),
        ("img/p.png", "page/p.xml", "img/p.png"),
        ("p.png", "page/p.xml", "p.png"),
        ("OCR-D-IMG/p.tif", "OCR-D-GT-PAGE/x.xml", "OCR-D-IMG/p.png"),
        ("Žižka [1] ſ & 日本.png", "Žižka [1] ſ & 日本.xml", "Žižka [1] ſ & 日本.png"),
        (unicodedata.normalize("NFC", "Žižka.png"), "a.xml", unicodedata.normalize("NFD", "Žižka.png")),
        ("vol.1.page.2.png", "vol.1.page.2.xml", "vol.1.page.2.jpg"),
    ],
)
def test_the_image_is_found_by_name_by_stem_and_in_other_folders(
    tmp_path: Path, told: str, file: str, image: str
) -> None:
    write.draw_page(tmp_path / image)
    write.draw_page(tmp_path / "quite other.png")
    write.write(tmp_path / file, write.page_xml(image=told))
    rows = rows_of(tmp_path)
    assert {(row["problem"], row["group"]) for row in rows} == {(None, image)}
    assert (
        np.asarray(open_upright(image_of(rows[0]))) == np.asarray(open_upright(image_of(rows[1])))
    ).all() or image.endswith("jpg")


def test_of_images_of_one_name_the_nearest(tmp_path: Path) -> None:
    for book in ("a", "b"):
        write.draw_page(tmp_path / book / "0001.png")
        write.write(tmp_path / book / "page" / "0001.xml", write.page_xml(image="0001.jpg"))
    assert {row["source"].split(":")[0]: row["group"] for row in rows_of(tmp_path)} == {
        "a/page/0001.xml": "a/0001.png",
        "b/page/0001.xml": "b/0001.png",
    }
    write.write(tmp_path / "c" / "0001.xml", write.page_xml(image="0001.jpg"))
    assert "ambiguous_image" in problems(tmp_path)


def test_a_stem_of_other_numbers_is_no_match(tmp_path: Path) -> None:
    write.draw_page(tmp_path / "vol.1.page.2.png")
    write.write(tmp_path / "a.xml", write.page_xml(image="vol.1.page.3.png"))
    assert set(problems(tmp_path)) == {"missing_image"}


def test_a_missing_image_is_named_with_the_path_tried(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "p.png").unlink()
    text = said(caplog, folder)
    assert f"page images not found: 1, e.g. {folder / 'p.png'} (--image_folder)" in text
    assert {(row["problem"], row["detail"]) for row in rows_of(folder)} == {("missing_image", str(folder / "p.png"))}
    write.draw_page(folder / "p.png")
    assert set(problems(folder)) == {None}, "the image came later"


def test_images_of_another_folder_are_named_by_flag(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "scans" / "deep").mkdir(parents=True)
    (folder / "p.png").rename(tmp_path / "scans" / "deep" / "p.png")
    assert set(problems(folder)) == {"missing_image"}
    rows = rows_of(folder, image_folder=str(tmp_path / "scans"))
    assert {row["group"] for row in rows} == {"../scans/deep/p.png"}
    with pytest.raises(UserError, match="--image_folder: there is no folder"):
        rows_of(folder, image_folder=str(tmp_path / "none"))


def test_no_image_out_of_the_data_set_is_opened(folder: Path, tmp_path: Path) -> None:
    (folder / "p.png").rename(tmp_path / "secret.png")
    for told in ("../secret.png", str(tmp_path / "secret.png")):
        write.write(folder / "p.xml", write.page_xml(image=told))
        assert set(problems(folder)) == {"path_outside_data_set"}
    (folder / "p.png").symlink_to(tmp_path / "secret.png")
    write.write(folder / "p.xml", write.page_xml())
    assert set(problems(folder)) == {"path_outside_data_set"}


def test_an_image_that_cannot_be_opened_is_left_to_be_told_later(folder: Path) -> None:
    (folder / "p.png").write_bytes(b"no image")
    assert set(problems(folder)) == {None}


# Coordinates


@pytest.mark.parametrize(
    ("unit", "size", "image"),
    [
        ("pixel", SIZE, (600, 400)),
        ("pixel", SIZE, (150, 100)),
        ("inch1200", SIZE, (600, 400)),
        ("mm10", SIZE, (300, 200)),
    ],
)
def test_coordinates_are_scaled_to_the_image(tmp_path: Path, unit: str, size: Any, image: Any) -> None:
    write.draw_page(tmp_path / "p.png", image)
    write.write(tmp_path / "p.xml", write.alto(unit=unit, size=size))
    for row in rows_of(tmp_path):
        crop = np.asarray(open_upright(image_of(row)))
        assert crop.shape[:2] == (20 * image[1] // SIZE[1], 100 * image[0] // SIZE[0])
        assert (crop == 0).all()


def test_an_image_of_another_shape_is_not_cut(folder: Path) -> None:
    write.draw_page(folder / "p.png", (200, 300))
    rows = rows_of(folder)
    assert {row["problem"] for row in rows} == {"page_size_differs"}
    assert rows[0]["detail"].endswith("p.png 200 x 300, not 300 x 200")
    write.draw_page(folder / "p.png", (302, 200))
    assert set(problems(folder)) == {None}, "two pixels are rounding"


def test_units_without_a_page_size_are_not_guessed(tmp_path: Path) -> None:
    write.draw_page(tmp_path / "p.png")
    write.write(tmp_path / "p.xml", write.alto(unit="mm10", size=("", "0")))
    assert set(problems(tmp_path)) == {"unknown_scale"}
    write.write(tmp_path / "p.xml", write.alto(size=("", "0")))
    assert set(problems(tmp_path)) == {None}


def test_pages_of_one_file_do_not_share_an_image(tmp_path: Path) -> None:
    write.draw_page(tmp_path / "p.png")
    page = write.alto().partition("<Layout>")[2].partition("</Layout>")[0]
    text = write.alto().replace(page, page + page.replace('HEIGHT="200"', 'HEIGHT="900"') + page)
    write.write(tmp_path / "p.xml", text)
    assert problems(tmp_path) == [None] * 3 + ["page_size_differs"] * 3 + ["shared_image"] * 3
    assert problems(tmp_path, level="page") == [None, "page_size_differs", "shared_image"]


def test_an_image_turned_by_exif_is_cut_upright(folder: Path) -> None:
    upright = Image.open(folder / "p.png").convert("L")
    exif = upright.getexif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(folder / "p.png", exif=exif)
    assert read_size(folder / "p.png") == (SIZE[1], SIZE[0])
    assert all((np.asarray(open_upright(image_of(row))) == 0).all() for row in rows_of(folder))


# Folders, splits, other data beside


def test_folders_named_as_splits(folder: Path, tmp_path: Path) -> None:
    top = tmp_path / "top"
    for split in ("train", "val"):
        shutil.copytree(folder, top / split)
    assert list_splits(str(top)) == ["train", "validation"]
    rows = load_rows(str(top), split="validation", level="page").to_list()
    assert [row["text"] for row in rows] == ["\n".join(TEXTS)]


def test_a_table_of_its_own_goes_first_unless_a_level_is_asked_for(folder: Path) -> None:
    (folder / "manifest.jsonl").write_text(json.dumps({"image": "p.png", "text": "from the table"}) + "\n", "utf-8")
    assert [row["text"] for row in rows_of(folder)] == ["from the table"]
    assert [row["text"] for row in rows_of(folder, level="line")] == TEXTS


@pytest.mark.parametrize("name", ["characters.csv", "htr-united.yml", "stats.json"])
def test_other_tables_beside_pages_are_not_the_data(folder: Path, name: str) -> None:
    (folder / name).write_text("a,b\n1,2\n", encoding="utf-8")
    assert [row["text"] for row in rows_of(folder)] == TEXTS


def test_box_files_beside_line_texts_are_by_products(tmp_path: Path) -> None:
    write.draw_page(tmp_path / "p.png")
    write.write(tmp_path / "p.box", write.wordstr())
    write.write(tmp_path / "p.gt.txt", "truth")
    assert [row["text"] for row in rows_of(tmp_path)] == ["truth"]


def test_a_level_needs_pages(tmp_path: Path) -> None:
    write.draw_page(tmp_path / "p.png")
    write.write(tmp_path / "p.gt.txt", "truth")
    with pytest.raises(UserError, match="--level line: .* holds no pages .*; leave --level out"):
        rows_of(tmp_path, level="line")
    with pytest.raises(UserError, match="--level page is for page formats"):
        rows_of(Path("owner/name"), level="page")


def test_the_folder_of_page_files_finds_the_images_one_up(tmp_path: Path) -> None:
    write.draw_page(tmp_path / "doc" / "p.png")
    file = write.write(tmp_path / "doc" / "page" / "p.xml", write.page_xml())
    for given in (tmp_path / "doc", tmp_path / "doc" / "page", file):
        assert set(problems(given)) == {None}


def test_mets_in_a_folder_decides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from test_page_formats import mets

    write.draw_page(tmp_path / "img" / "a b.png")
    write.write(tmp_path / "PAGE" / "1.xml", write.page_xml(image="unknown.tif"))
    write.write(tmp_path / "ALTO" / "1.xml", write.alto())
    files = ("IMG/img/a%20b.png", "ALTO/ALTO/1.xml", "PAGE/PAGE/1.xml"), ("PAGE/PAGE/2.xml",)
    (tmp_path / "mets.xml").write_bytes(mets(*files))
    rows = rows_of(tmp_path)
    assert [row["source"] for row in rows] == [f"PAGE/1.xml:l{n}" for n in (1, 2, 3)] + ["PAGE/2.xml"]
    assert [row["problem"] for row in rows] == [None] * 3 + ["missing_page"]
    assert {row["group"] for row in rows[:3]} == {"img/a b.png"}
    text = said(caplog, tmp_path)
    assert "PAGE/2.xml cannot be read: not there, though mets.xml names it" in text
    assert "not read (METS names others or none of them): 1, e.g. ALTO/1.xml" in text
    assert text.endswith("read as: METS (PAGE) with PAGE XML, 1 page, 3 lines")


def test_mets_of_urls_is_as_if_it_were_not_there(folder: Path) -> None:
    from test_page_formats import mets

    (folder / "mets.xml").write_bytes(mets(("IMG/https://x.org/p.png", "PAGE/https://x.org/Get?id=1.xml")))
    assert [row["text"] for row in rows_of(folder)] == TEXTS
    with pytest.raises(UserError, match=r"mets\.xml: none of the page files that it names is there"):
        rows_of(folder / "mets.xml")


# Zips


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def pages_of(folder: Path, prefix: str = "") -> dict[str, bytes]:
    return {prefix + file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("prefix", ["", "export/doc 1/", "Žižka\\page\\"])
def test_zips_are_read_as_their_folders(folder: Path, tmp_path: Path, prefix: str) -> None:
    extra = {"__MACOSX/._p.xml": b"\0", "notes.exe": b"MZ", f"{prefix}.hidden.xml": b"<a/>"}
    file = zipped(tmp_path / "export.zip", pages_of(folder, prefix) | extra)
    for _ in range(2):
        rows = rows_of(file)
        assert [(row["text"], row["problem"]) for row in rows] == [(text, None) for text in TEXTS]
        assert rows[0]["source"] == f"{prefix}p.xml:l1".replace("\\", "/")
    assert not list(Path(rows[0]["image"]["path"]).parent.glob("*.exe"))
    assert [row["text"] for row in rows_of(file, level="page")] == ["\n".join(TEXTS)]


@pytest.mark.parametrize("name", ["../evil.xml", "a/../../evil.xml", "/tmp/evil.xml", "C:\\evil.xml", "..\\evil.xml"])
def test_entries_that_lead_out_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    file = zipped(tmp_path / "e.zip", pages_of(folder) | {name: b"<a/>"})
    with pytest.raises(UserError, match=r"e\.zip: the entry '.*evil.xml' leads out of the archive"):
        rows_of(file)
    assert not list(tmp_path.rglob("evil.xml"))


def test_links_bombs_and_damage_are_refused(folder: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.xml")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="is a link"):
        rows_of(tmp_path / "link.zip")
    whole = zipped(tmp_path / "whole.zip", pages_of(folder)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.zip is not a zip that can be opened"):
        rows_of(tmp_path / "cut.zip")
    spoilt = bytearray(zipped(tmp_path / "plain.zip", pages_of(folder), zipfile.ZIP_STORED).read_bytes())
    spoilt[spoilt.index(b"amber")] ^= 1
    (tmp_path / "spoilt.zip").write_bytes(spoilt)
    with pytest.raises(UserError, match=r"spoilt\.zip is a damaged zip"):
        rows_of(tmp_path / "spoilt.zip")
    encrypted = bytearray(whole)
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = 0
        while (start := encrypted.find(mark, start)) >= 0:
            encrypted[start + offset] |= 1
            start += 4
    (tmp_path / "locked.zip").write_bytes(encrypted)
    with pytest.raises(UserError, match=r"locked\.zip is encrypted"):
        rows_of(tmp_path / "locked.zip")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glm_ocr_finetune.readers.pages import archives

    monkeypatch.setattr(archives, "_HARMLESS", 1000)
    file = zipped(tmp_path / "bomb.zip", {"p.xml": b"\0" * 10_000_000})
    with pytest.raises(UserError, match=r"bomb\.zip would grow from [\d,]+ to 10,000,000 bytes"):
        rows_of(file)


def test_a_zip_of_other_things_and_a_folder_of_zips(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds nothing to read"):
        rows_of(zipped(tmp_path / "other.zip", {"a.txt": b"a"}))
    (tmp_path / "zips").mkdir()
    zipped(tmp_path / "zips" / "export.zip", pages_of(folder))
    with pytest.raises(
        UserError, match=r"holds zips of pages; unpack them there, or give one as --dataset_name .*export"
    ):
        rows_of(tmp_path / "zips")


def test_a_folder_that_is_itself_a_link_is_read(folder: Path, tmp_path: Path) -> None:
    os.symlink(folder, tmp_path / "link")
    assert [row["text"] for row in rows_of(tmp_path / "link")] == TEXTS
