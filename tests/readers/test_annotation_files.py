"""A file for each image: FUNSD, CORD, fields of documents, SROIE's and ICDAR's boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from writing import picture, read, texts, write

from glm_ocr_finetune.readers import list_splits


def form(*entries: Any) -> str:
    return json.dumps({"form": list(entries)})


ENTRY = {"box": [1, 2, 30, 20], "text": "NAME:", "label": "question", "words": [], "linking": [], "id": 0}


def test_funsd(tmp_path: Path) -> None:
    for split in ("training_data", "testing_data"):
        picture(tmp_path / split / "images" / "a.png")
        write(tmp_path / split / "annotations" / "a.json", form(ENTRY, ENTRY | {"text": ""}, ENTRY | {"box": [1]}, "x"))
    assert sorted(list_splits(str(tmp_path))) == ["test", "train"]
    rows = read(tmp_path)
    assert [row["problem"] for row in rows] == [None, "empty_label", "no_coordinates", "invalid_record"]
    assert (rows[0]["text"], rows[0]["region"]) == ("NAME:", [[1, 2], [30, 20]])
    assert rows[0]["image"]["path"] == str(tmp_path / "training_data" / "images" / "a.png")
    assert (rows[0]["group"], rows[0]["source"]) == ("a", "training_data/annotations/a.json:1")


def test_funsd_alone_and_without_an_image(tmp_path: Path) -> None:
    row = read(write(tmp_path / "a.json", form(ENTRY)))[0]
    assert (row["problem"], row["detail"]) == ("missing_image", str(tmp_path / "a.png"))
    assert read(write(tmp_path / "b.json", form()))[0]["problem"] == "empty_page"


def quad(x: int, y: int) -> dict[str, int]:
    return {"x1": x, "y1": y, "x2": x + 9, "y2": y, "x3": x + 9, "y3": y + 5, "x4": x, "y4": y + 5}


def test_cord(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "image" / "receipt_0.png")
    lines = [
        {"words": [{"quad": quad(1, 2), "text": "TOTAL"}, {"quad": quad(12, 3), "text": "1.50"}], "category": "total"},
        {"words": [{"quad": quad(1, 9), "text": "thanks"}]},
        {"words": [{"text": "no outline"}]},
        {},
    ]
    write(tmp_path / "train" / "json" / "receipt_0.json", json.dumps({"valid_line": lines, "meta": {}, "roi": {}}))
    rows = read(tmp_path)
    assert [row["problem"] or row["text"] for row in rows] == ["TOTAL 1.50", "thanks", "no_coordinates", "empty_label"]
    assert rows[0]["region"] == [[1, 2], [21, 8]]
    assert rows[1]["region"] == [[1, 9], [10, 9], [10, 14], [1, 14]]


def test_fields_become_a_json_answer(tmp_path: Path) -> None:
    picture(tmp_path / "img" / "a.jpg")
    write(tmp_path / "key" / "a.json", '{"total": 1.50, "company": "X", "date": null}')
    rows = read(tmp_path)
    assert [row["text"] for row in rows] == ['{"total": 1.50, "company": "X", "date": null}']
    assert read(tmp_path / "key", image_folder=str(tmp_path / "img"))[0]["problem"] is None


def test_damaged_files_among_good_ones(tmp_path: Path) -> None:
    for stem, text in (("a", form(ENTRY)), ("b", form(ENTRY)[:-1]), ("c", "[]"), ("d", b"\xff\xff"), ("e", "")):
        picture(tmp_path / f"{stem}.png")
        write(tmp_path / f"{stem}.json", text)
    assert texts(tmp_path) == ["NAME:", *["invalid_record"] * 4]


SROIE = "1,2,30,2,30,9,1,9,TOTAL, PAID,\r\n1,12,30,12,30,19,1,19,1.50\r\n"


@pytest.mark.parametrize("folders", [("img", "box"), (".", "."), ("images", "gt")])
def test_sroie(folders: tuple[str, str], tmp_path: Path) -> None:
    picture(tmp_path / "set" / folders[0] / "a.jpg")
    write(tmp_path / "set" / folders[1] / "a.txt", SROIE)
    rows = read(tmp_path / "set")
    assert [row["text"] for row in rows] == ["TOTAL, PAID,", "1.50"]
    assert rows[0]["region"] == [[1, 2], [30, 2], [30, 9], [1, 9]]
    assert rows[0]["image"]["path"] == str(tmp_path / "set" / folders[0] / "a.jpg")
    assert {row["group"] for row in rows} == {"a"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1,2,30,2,30,9,1,9,###", "placeholder"),
        ("1,2,30,2,30,9,1,9,", "empty_label"),
        ("1,2,30,2,30,9,1,9,Latin,HELLO", "HELLO"),
        ("\ufeff1,2,30,2,30,9,1,9,HELLO", "HELLO"),
        ("1.5,2.5,30,2,30,9,1,9,HELLO", "HELLO"),
        ('38, 43, 920, 215, "Tiredness"', "Tiredness"),
        ("-1,2,30,2,30,9,1,9,HELLO", "HELLO"),
    ],
)
def test_lines_of_boxes(line: str, expected: str, tmp_path: Path) -> None:
    picture(tmp_path / "img_1.jpg")
    assert texts(write(tmp_path / "gt_img_1.txt", line + "\n")) == [expected]


def test_a_damaged_line_of_boxes(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    write(tmp_path / "a.txt", SROIE * 10 + "no box\n")
    assert texts(tmp_path)[-1] == "invalid_record"


def test_an_empty_page_among_boxes(tmp_path: Path) -> None:
    for stem, text in (("a", SROIE), ("b", ""), ("c", b"\xff\xff\xff")):
        picture(tmp_path / f"{stem}.jpg")
        write(tmp_path / f"{stem}.txt", text)
    assert texts(tmp_path)[2:] == ["empty_page", "invalid_text"]


def test_the_first_file_may_be_damaged_or_empty(tmp_path: Path) -> None:
    for stem in "abc":
        picture(tmp_path / "forms" / f"{stem}.png")
        picture(tmp_path / "lines" / f"{stem}.png")
    write(tmp_path / "forms" / "a.json", form(ENTRY)[:-1])
    write(tmp_path / "forms" / "b.json", form(ENTRY))
    write(tmp_path / "lines" / "a.txt", "")
    write(tmp_path / "lines" / "b.txt", SROIE)
    assert texts(tmp_path / "forms") == ["invalid_record", "NAME:"]
    assert texts(tmp_path / "lines") == ["empty_page", "TOTAL, PAID,", "1.50"]


def test_a_list_in_json_is_no_annotation_of_one_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "a.json", json.dumps([{"image": "a.png", "text": "amber"}]))
    assert texts(tmp_path / "a.json") == ["amber"]
