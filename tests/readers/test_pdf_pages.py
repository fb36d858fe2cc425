"""PDF files: each page is an image at a known resolution, labelled by its text layer or by the text beside it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shared_data import DATA, needs_shared

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import ImageError, check_complete, content_key, open_upright, read_size
from glm_ocr_finetune.inputs.pdf_pages import DPI, has_unmapped, page_path, split_page_path
from glm_ocr_finetune.readers import load_rows

pytest.importorskip("pypdfium2")


def write_pdf(path: Path, *pages: str) -> Path:
    """A PDF of 144 x 72 points with these texts as pages, one line of text for each line."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        lines = "".join(f"({line}) Tj 0 -14 Td " for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 10 50 Td {lines} ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        fonts = "<< /Font << /F1 3 0 R >> >>"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 144 72] /Resources {fonts} /Contents {len(objects)} 0 R >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    path.write_bytes(f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode("latin-1"))
    return path


def test_pages_with_their_text_layers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_pdf(tmp_path / "a.pdf", "amber birch\ncedar", "delta")
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        rows = load_rows(str(tmp_path), split="train").to_list()
    assert [(row["text"], row["source"], row["group"]) for row in rows] == [
        ("amber birch\ncedar", "a.pdf:page 1", "a.pdf"),
        ("delta", "a.pdf:page 2", "a.pdf"),
    ]
    assert rows[1]["image"]["path"] == f"{file}#page=2"
    assert caplog.messages == ["read as: PDF, 1 file, 2 pages at 200 dpi"]
    assert load_rows(str(file), split="train", level="page").to_list() == rows


def test_a_page_is_an_image_like_others(tmp_path: Path) -> None:
    file = write_pdf(tmp_path / "a.pdf", "amber", "birch")
    first, second = (page_path(str(file), number) for number in (1, 2))
    picture = open_upright(first)
    assert read_size(first) == (picture.height, picture.width) == (72 * DPI // 72, 144 * DPI // 72)
    assert picture.mode == "RGB"
    assert 0.001 < (np.asarray(picture) < 128).mean() < 0.2
    assert content_key(first) != content_key(second)
    check_complete(first)
    part = {"bytes": None, "path": first, "region": [[0, 0], [200, 100]]}
    assert open_upright(part).tobytes() == picture.crop((0, 0, 200, 100)).tobytes()


@pytest.mark.parametrize("size", [(595.3, 841.9), (100.1, 33.3), (612, 792)])
def test_the_size_is_that_of_the_drawn_page(tmp_path: Path, size: tuple[float, float]) -> None:
    file = write_pdf(tmp_path / "a.pdf", "amber")
    file.write_bytes(file.read_bytes().replace(b"[0 0 144 72]", f"[0 0 {size[0]} {size[1]}]".encode()))
    page = page_path(str(file), 1)
    assert read_size(page) == open_upright(page).size[::-1]


def test_a_text_beside_goes_before_the_layer(tmp_path: Path) -> None:
    write_pdf(tmp_path / "one.pdf", "layer")
    write_pdf(tmp_path / "two.pdf", "layer", "layer")
    write_pdf(tmp_path / "odd.pdf", "layer", "layer")
    (tmp_path / "one.txt").write_text("\ufefftruth\r\nin lines\r\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("first\f\nsecond\f", encoding="utf-8")
    (tmp_path / "odd.txt").write_text("first", encoding="utf-8")
    rows = {row["source"]: (row["text"], row["problem"]) for row in load_rows(str(tmp_path), split="train")}
    assert rows == {
        "odd.pdf:page 1": (None, "page_count"),
        "odd.pdf:page 2": (None, "page_count"),
        "one.pdf:page 1": ("truth\nin lines", None),
        "two.pdf:page 1": ("first", None),
        "two.pdf:page 2": ("second", None),
    }


@pytest.mark.parametrize(
    ("markdown", "text", "problem"),
    [
        (
            "---\nprimary_language: en\nrotation_correction: 0\n---\n# Title\n\n---\nbody\n",
            "# Title\n\n---\nbody",
            None,
        ),
        ("---\nrotation_correction: 90\n---\nbody", None, "rotated_page"),
        ("---\nis_table: False\n---\n", None, "empty_label"),
        ("no front matter", "no front matter", None),
    ],
)
def test_markdown_with_front_matter(tmp_path: Path, markdown: str, text: str | None, problem: str | None) -> None:
    write_pdf(tmp_path / "a.pdf", "layer")
    (tmp_path / "a.md").write_text(markdown, encoding="utf-8")
    (row,) = load_rows(str(tmp_path), split="train")
    assert (row["text"], row["problem"]) == (text, problem)


def test_a_scan_has_no_text_layer(tmp_path: Path) -> None:
    Image.new("L", (40, 30), 90).save(tmp_path / "scan.pdf")
    (row,) = load_rows(str(tmp_path), split="train")
    assert row["problem"] == "not_transcribed"
    assert read_size(row["image"]["path"]) == open_upright(row["image"]["path"]).size[::-1]


def test_pdfs_beside_images_are_not_the_data(tmp_path: Path) -> None:
    write_pdf(tmp_path / "guidelines.pdf", "how to transcribe")
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    (tmp_path / "a.gt.txt").write_text("amber", encoding="utf-8")
    assert load_rows(str(tmp_path), split="train")["text"] == ["amber"]


def test_what_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_pdf(tmp_path / "good.pdf", "amber").read_bytes()
    for name, data in {"empty": b"", "cut": whole[:200], "words": b"no pdf", "zeros": b"\0" * 99}.items():
        (tmp_path / f"{name}.pdf").write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}\.pdf: Failed to load document"):
            load_rows(str(tmp_path / f"{name}.pdf"), split="train")
    rows = load_rows(str(tmp_path), split="train")
    assert rows["problem"] == ["unreadable_page", "unreadable_page", None, "unreadable_page", "unreadable_page"]
    assert caplog.text.count("cannot be read: Failed to load document") == 4
    with pytest.raises(UserError, match="--level line: a PDF is read by whole pages"):
        load_rows(str(tmp_path), split="train", level="line")


def test_pages_that_are_not_there(tmp_path: Path) -> None:
    file = write_pdf(tmp_path / "a.pdf", "amber")
    for path, reason in ((page_path(str(file), 2), "unreadable_image"), (f"{tmp_path}/b.pdf#page=1", "missing_image")):
        for look in (read_size, open_upright):
            with pytest.raises(ImageError, match=r"\.pdf") as raised:
                look(path)
            assert raised.value.reason == reason
    assert split_page_path("a.pdf#page=0") is split_page_path("a.png#page=1") is split_page_path(None) is None


def test_a_sheet_without_end_is_refused(tmp_path: Path) -> None:
    file = write_pdf(tmp_path / "a.pdf", "amber")
    file.write_bytes(file.read_bytes().replace(b"[0 0 144 72]", b"[0 0 14400 14400]"))
    for look in (read_size, open_upright):
        with pytest.raises(ImageError, match="40000 x 40000 pixels") as raised:
            look(page_path(str(file), 1))
        assert raised.value.reason == "image_too_large"


def test_characters_without_a_meaning_are_told() -> None:
    assert all(map(has_unmapped, ("a\x99b", "\uf0b7 item", "\ufffd", "a\tb")))
    assert not any(map(has_unmapped, ("a\nb", "ſtraße – ‘x’", "日本", "")))


@needs_shared
def test_the_pdfs_of_the_tables() -> None:
    rows = load_rows(str(DATA / "tables-icdar2013-us" / "pdf"), split="train")
    assert len(rows) == 58
    assert set(rows["problem"]) == {None, "unmapped_text"}
    first = rows[0]
    assert first["text"].startswith("Appendix A—Glossary\nDAS Variable\nA-3\nAge received bachelor’s degree AGEATBA")
    assert read_size(first["image"]["path"]) == (2200, 1700)
    whole = "\n".join(text for text in rows["text"] if text)
    assert "eliminate pre-\nventable disease" in whole, "hyphens at line ends"


@needs_shared
def test_olmocr_pairs() -> None:
    rows = {row["source"]: row for row in load_rows(str(DATA / "formats" / "olmocr"), split="train")}
    edgar = rows["sample_dataset/simple_document/edgar.pdf:page 1"]["text"]
    assert edgar.startswith(
        "Edgar (or Eadgar;[1] c. 944 – 8 July 975) was King of the English from 959 until his death"
    )
    assert "\n\nEdgar mainly followed the political policies" in edgar
    assert rows["sample_dataset/empty_document/blanktext.pdf:page 1"]["problem"] == "empty_label"
