"""PaddleOCR's and other lists of image and text."""

from __future__ import annotations

from pathlib import Path

import pytest
from writing import read, texts, write

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.readers import list_splits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("images/0.png\tamber 10\nimages/1.png\tamber 11\n", ["amber 10", "amber 11"]),
        ("images\\0.png\tamber\r\n", ["amber"]),
        ("\ufeffimages/0.png\tamber\n", ["amber"]),
        ("images/0.png\ta\tb\n", ["a\tb"]),
        ('images/0.png\t"so" he said\n', ['"so" he said']),
        ("set/images/0.png\tamber\n", ["amber"]),
        ('["images/0.png", "images/1.png"]\tamber\n', ["amber", "amber"]),
        ("images/0.png amber and more\n", ["amber and more"]),
        ("images/0.png,amber\n", ["amber"]),
        ('images/0.png, "amber"\n', ["amber"]),
        ("Image\tText\nimages/0.png\tamber\n", ["amber"]),
        ("images/0.png\tamber\n\nnot a pair\nimages/1.png\t\n", ["amber", "invalid_record", "empty_label"]),
    ],
)
def test_lists(text: str, expected: list[str], folder: Path) -> None:
    assert texts(write(folder / "rec_gt.txt", text)) == expected
    assert texts(folder) == expected


def test_splits_of_lists(folder: Path) -> None:
    for name in ("train", "test"):
        write(folder / f"rec_gt_{name}.txt", "images/0.png\tamber\n")
    write(folder / "README.txt", "about this")
    write(folder / "dict.txt", "a\nb\n")
    assert list_splits(str(folder)) == ["test", "train"]
    assert read(folder)[0]["source"] == "rec_gt_train.txt:1"


def test_lists_beside_tables_are_not_read(folder: Path) -> None:
    write(folder / "rows.jsonl", '{"image": "images/0.png", "text": "from the table"}')
    write(folder / "rec_gt.txt", "images/0.png\tfrom the list\n")
    assert texts(folder) == ["from the table"]


def test_excels_unicode_text(folder: Path) -> None:
    data = "\ufefffile_name\ttext\r\nimages/0.png\tämber\r\n".encode("utf-16-le")
    assert texts(write(folder / "rows.txt", data)) == ["ämber"]


@pytest.mark.parametrize("text", ["about this\n", "", "a\tb\n", "\x00\x01"])
def test_texts_that_are_no_lists(text: str, folder: Path) -> None:
    with pytest.raises(UserError, match="holds nothing to read"):
        read(write(folder / "notes.txt", text))


def test_boxes_on_pages_are_no_lines(folder: Path) -> None:
    line = 'images/0.png\t[{"transcription": "a", "points": [[0, 0], [9, 0], [9, 9], [0, 9]]}]\n'
    with pytest.raises(UserError, match="Label.txt:1 holds boxes on a page"):
        read(write(folder / "Label.txt", line))
