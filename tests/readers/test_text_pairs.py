"""Images and texts of one stem, in one folder or many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from writing import picture, read, texts, write

from glm_ocr_finetune.errors import UserError


def pair(folder: Path, image: str, text: str | bytes, text_name: str) -> None:
    picture(folder / image)
    write(folder / text_name, text)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("a.png", "a.gt.txt"),
        ("a.PNG", "a.gt.txt"),
        ("a.png", "a.GT.TXT"),
        ("a.jpg", "a.txt"),
        ("A.JPEG", "a.txt"),
        ("a.tiff", "a.md"),
        ("a.bin.png", "a.gt.txt"),
        ("a.nrm.png", "a.gt.txt"),
        ("a.b.c.png", "a.b.c.gt.txt"),
        ("a.b.png", "a.b.txt"),
        ("\u00e9.png", "e\u0301.txt"),
        ("n 1 [2].png", "n 1 [2].txt"),
        ("deep/er/a.webp", "deep/er/a.txt"),
    ],
)
def test_pairs(image: str, text: str, tmp_path: Path) -> None:
    pair(tmp_path, image, "amber\r\n", text)
    row = read(tmp_path)[0]
    assert (row["text"], row["problem"], row["source"]) == ("amber", None, text)
    assert Path(row["image"]["path"]).exists()


def test_the_image_that_was_not_prepared_is_preferred(tmp_path: Path) -> None:
    for name in ("a.bin.png", "a.nrm.png", "a.tif", "a.png", "a.jpg"):
        picture(tmp_path / name)
    write(tmp_path / "a.gt.txt", "amber")
    assert Path(read(tmp_path)[0]["image"]["path"]).name == "a.png"


def test_ground_truth_wins_over_what_a_program_read(tmp_path: Path) -> None:
    pair(tmp_path, "a.png", "truth", "a.gt.txt")
    write(tmp_path / "a.txt", "tru1h")
    write(tmp_path / "b" / "b.txt", "no truth")
    assert texts(tmp_path) == ["truth"]


def test_texts_without_an_image_and_images_without_a_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair(tmp_path, "a.png", "amber", "a.txt")
    picture(tmp_path / "b.png")
    write(tmp_path / "c.txt", "cedar")
    write(tmp_path / "README.txt", "about this")
    rows = read(tmp_path)
    assert [(row["source"], row["problem"]) for row in rows] == [("a.txt", None), ("c.txt", "missing_image")]
    assert rows[1]["detail"] == str(tmp_path / "c.png")
    assert f"1 image without a text beside, left out, e.g. {tmp_path / 'b.png'}" in caplog.text


def test_what_operating_systems_leave_is_no_pair(tmp_path: Path) -> None:
    pair(tmp_path, "a.png", "amber", "a.gt.txt")
    for name in ("._a.gt.txt", "._a.png", "__MACOSX/._a.gt.txt", ".cache/b.gt.txt", "Thumbs.db", ".DS_Store"):
        write(tmp_path / name, b"\x00\x05\x16\x07")
    assert texts(tmp_path) == ["amber"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfamber\r\n", "amber"),
        ("Zürich".encode("cp1252"), "Zürich"),
        ("amber".encode("utf-16"), "amber"),
        ("amber".encode("utf-16-le"), "amber"),
        (b"\xff\xff", "invalid_text"),
        ("Привет".encode("cp1251"), "invalid_text"),
        (b"", "empty_label"),
        (b"\n", "empty_label"),
        (b"a\nb\n\n", "a\nb"),
        (b"0 0.512345 0.51234 0.1000 0.2000\n1 0.512345 0.51234 0.1000 0.2000\n", "boxes_only"),
        (b"12, 13, 14, 15, 16\n", "12, 13, 14, 15, 16"),
        (b"0 0.5", "0 0.5"),
    ],
)
def test_texts(data: bytes, text: str, tmp_path: Path) -> None:
    pair(tmp_path, "a.png", data, "a.txt")
    assert texts(tmp_path) == [text]


def test_older_encodings_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair(tmp_path, "a.png", "Zürich".encode("cp1252"), "a.txt")
    pair(tmp_path, "b.png", "Müller".encode("cp1252"), "b.txt")
    assert texts(tmp_path) == ["Zürich", "Müller"]
    assert "2 texts are not UTF-8: read as Windows-1252, e.g. " in caplog.text


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    shades = [Image.new("L", (40, 30), shade) for shade in (0, 255)]
    for stem, text in (("a", "one\ftwo\f"), ("b", "one"), ("c", "one\ftwo\fthree")):
        shades[0].save(tmp_path / f"{stem}.tif", save_all=True, append_images=shades[1:])
        write(tmp_path / f"{stem}.txt", text)
    rows = read(tmp_path)
    assert [row["problem"] or row["text"] for row in rows] == ["one", "two", "several_pages", "several_pages"]
    assert [row["source"] for row in rows] == ["a.txt#page=1", "a.txt#page=2", "b.txt", "c.txt"]
    assert rows[2]["detail"] == f"2 pages in {tmp_path / 'b.tif'}"
    from glm_ocr_finetune.inputs.images import open_upright

    assert [open_upright(row["image"]).getpixel((0, 0)) for row in rows[:2]] == [(0, 0, 0), (255, 255, 255)]


def test_pages_of_a_tiff_in_a_table(tmp_path: Path) -> None:
    shades = [Image.new("L", (40, 30), shade) for shade in (0, 255)]
    shades[0].save(tmp_path / "two.TIFF", save_all=True, append_images=shades[1:])
    write(tmp_path / "rows.jsonl", '{"image": "two.TIFF", "text": ["a", "b"]}\n{"image": "two.TIFF", "text": "a"}')
    assert texts(tmp_path) == ["a", "b", "several_pages"]


def test_a_preview_in_a_tiff_is_no_page(tmp_path: Path) -> None:
    from PIL import TiffImagePlugin

    preview = TiffImagePlugin.ImageFileDirectory_v2()
    preview[254] = 1
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif"), new=True) as file:
        Image.new("L", (40, 30)).save(file, "TIFF")
        file.newFrame()
        Image.new("L", (4, 3)).save(file, "TIFF", tiffinfo=preview)
    with Image.open(tmp_path / "a.tif") as opened:
        assert opened.n_frames == 2
    write(tmp_path / "a.txt", "amber")
    assert texts(tmp_path) == ["amber"]


@pytest.mark.parametrize("folders", [("images", "labels"), ("img", "gt"), (".", "texts"), ("pages", ".")])
def test_images_and_texts_in_folders_of_their_own(
    folders: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = folders
    for stem in "ab":
        pair(tmp_path / "set", f"{images}/{stem}.png", stem, f"{labels}/{stem}.txt")
    if images == ".":
        with pytest.raises(UserError, match="holds nothing to read"):
            read(tmp_path / "set")
        return
    rows = read(tmp_path / "set")
    assert [(row["text"], Path(row["image"]["path"])) for row in rows] == [
        (stem, tmp_path / "set" / images / f"{stem}.png") for stem in "ab"
    ]
    assert "without a text" not in caplog.text


def test_images_of_another_folder(tmp_path: Path) -> None:
    pair(tmp_path, "scans/a.png", "amber", "texts/a.gt.txt")
    assert texts(tmp_path / "texts") == ["missing_image"]
    assert texts(tmp_path / "texts", image_folder=str(tmp_path / "scans")) == ["amber"]


def test_front_matter_is_no_text(tmp_path: Path) -> None:
    pair(tmp_path, "a.png", "---\nprimary_language: en\nis_table: True\n---\n# Title\n\n---\n\nEnd\n", "a.md")
    pair(tmp_path, "b.png", "---\nprimary_language: en\n---", "b.md")
    assert texts(tmp_path) == ["# Title\n\n---\n\nEnd", "empty_label"]


def test_folders_that_can_be_read_one_at_a_time(tmp_path: Path) -> None:
    pair(tmp_path, "one/deep/a.png", "amber", "one/deep/a.gt.txt")
    (tmp_path / "set" / "two").mkdir(parents=True)
    (tmp_path / "one").rename(tmp_path / "set" / "one")
    write(tmp_path / "set" / "two" / "rows.csv", "image,text\na.png,x\n")
    picture(tmp_path / "set" / "two" / "a.png")
    (tmp_path / "set" / "one" / "deep" / "a.gt.txt").unlink()
    with pytest.raises(UserError, match="its folders can be read one at a time, two "):
        read(tmp_path / "set")


def test_split_folders_of_pairs(tmp_path: Path) -> None:
    from glm_ocr_finetune.readers import list_splits

    pair(tmp_path, "train/a.png", "amber", "train/a.txt")
    pair(tmp_path, "val/a.png", "amber", "val/a.txt")
    assert list_splits(str(tmp_path)) == ["train", "validation"]


def test_class_folders_are_no_data(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        picture(tmp_path / name)
    with pytest.raises(
        UserError, match=r"holds nothing to read: 3 images in cat, dog, but no text beside any of them; "
    ):
        read(tmp_path)


def test_links_out_of_the_folder(tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret.png")
    (tmp_path / "set").mkdir()
    os.symlink(secret, tmp_path / "set" / "a.png")
    write(tmp_path / "set" / "a.txt", "amber")
    assert texts(tmp_path / "set") == ["path_outside_data_set"]
    assert texts(tmp_path / "set", image_folder=str(tmp_path)) == ["amber"]


def test_ground_truth_beside_what_a_program_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pair(tmp_path, "a.png", "truth", "a.gt.txt")
    page = '<alto><Layout><Page WIDTH="40" HEIGHT="30"><PrintSpace><TextBlock><TextLine HPOS="1" VPOS="1" WIDTH="30" '
    page += 'HEIGHT="9"><String CONTENT="tru1h"/></TextLine></TextBlock></PrintSpace></Page></Layout></alto>'
    write(tmp_path / "ocr" / "a.xml", page)
    picture(tmp_path / "ocr" / "a.png")
    assert texts(tmp_path) == ["truth"]
    assert f"1 page file not read, e.g. {tmp_path / 'ocr' / 'a.xml'} (--data_format pages reads them)" in caplog.text
    assert texts(tmp_path, data_format="pages") == ["tru1h"]
