"""PaddleOCR's and other lists of image and text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


BOX = {"transcription": "amber", "points": [[1, 2], [30, 2], [30, 9], [1, 9]]}


def boxes(*pieces: Any) -> str:
    return f"set/images/0.png\t{json.dumps(pieces)}\n"


def test_boxes_on_pages(folder: Path) -> None:
    marked = [BOX | {"difficult": True}, BOX | {"transcription": "###"}, BOX | {"transcription": ""}]
    odd = [BOX | {"points": [[1, 2]]}, {"transcription": "no outline"}, "no box", BOX | {"transcription": 1.5}]
    path = write(folder / "Label.txt", boxes(BOX | {"difficult": False}, *marked, *odd))
    rows = read(path)
    assert [row["problem"] or row["text"] for row in rows] == [
        "amber",
        "difficult",
        "placeholder",
        "empty_label",
        "no_coordinates",
        "no_coordinates",
        "invalid_record",
        "1.5",
    ]
    assert rows[0]["region"] == [[1, 2], [30, 2], [30, 9], [1, 9]]
    assert rows[0]["image"]["path"] == str(folder / "images" / "0.png")
    assert (rows[0]["source"], rows[0]["group"]) == ("Label.txt:1:1", "set/images/0.png")


def test_damaged_boxes_are_one_row_each(folder: Path) -> None:
    broken = 'images/0.png\t[{"transcription": "a", "points"\n'
    rows = read(write(folder / "Label.txt", boxes(BOX) + broken + "images/1.png\t[]\n" + boxes(BOX)))
    assert [row["problem"] for row in rows] == [None, "invalid_record", "empty_page", None]
    assert "Expecting ':' delimiter" in rows[1]["detail"]


def test_boxes_are_read_before_the_lines_cut_from_them(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder / "Label.txt", boxes(BOX))
    write(folder / "rec_gt.txt", "images/1.png\tcut\n")
    write(folder / "fileState.txt", "C:\\set\\images\\0.png\t1\n")
    with caplog.at_level("INFO"):
        assert texts(folder) == ["amber"]
    assert "not the lists of cut lines: rec_gt.txt" in caplog.text
    assert "read as: PaddleOCR boxes with texts, 1 row" in caplog.text


def test_many_texts_are_transcriptions_and_not_opened_as_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glm_ocr_finetune.readers import label_lists

    for number in range(300):
        write(folder / "images" / f"{number}.txt", "amber")
    monkeypatch.setattr(label_lists, "_mark", lambda file: pytest.fail(f"{file} was opened"))
    assert texts(folder / "images").count("amber") == 4
