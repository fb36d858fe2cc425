"""Label Studio's exports: boxes in percent, texts joined to them by id or by order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from writing import picture, read, write

SIZE = {"original_width": 200, "original_height": 100, "image_rotation": 0}
RECTANGLE = {"x": 10.0, "y": 20.0, "width": 50.0, "height": 10.0, "rotation": 0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    picture(tmp_path / "images" / "0a1b2c3d-page.png", size=(200, 100))
    return tmp_path


def box(text: Any = "amber", id: str = "a", **shape: Any) -> list[dict[str, Any]]:
    value = RECTANGLE | shape
    return [
        {"id": id, "type": "rectanglelabels", "value": value | {"rectanglelabels": ["Text"]}, **SIZE},
        {"id": id, "type": "textarea", "value": value | {"text": text}, **SIZE},
    ]


def task(*results: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-page.png", **more: Any) -> dict[str, Any]:
    annotation = {"was_cancelled": False, "result": list(results)} | more
    return {"id": 1, "annotations": [annotation], "data": {"image": image}}


def export(folder: Path, *tasks: Any) -> list[dict[str, Any]]:
    return read(write(folder / "project-1.json", json.dumps(tasks)))


def test_a_rectangle_and_its_text(project: Path) -> None:
    row = export(project, task(*box(["amber", "cedar"])))[0]
    assert (row["text"], row["problem"]) == ("amber\ncedar", None)
    assert row["region"] == [[20, 20], [120, 30]]
    assert row["image"]["path"] == str(project / "images" / "0a1b2c3d-page.png")
    assert (row["source"], row["group"]) == ("project-1.json:1:1", "images/0a1b2c3d-page.png")


def test_numbers_keep_their_form(project: Path) -> None:
    path = write(project / "project-1.json", json.dumps([task(*box(["TEXT"]))]).replace('"TEXT"', "1.50"))
    assert read(path)[0]["text"] == "1.50"


def test_a_turned_rectangle_turns_around_its_corner(project: Path) -> None:
    row = export(project, task(*box(rotation=90)))[0]
    # 20, 20 in pixels is the corner; 100 wide and 10 high, turned clockwise
    assert [[round(value, 6) for value in point] for point in row["region"]] == [
        [20, 20],
        [20, 120],
        [10, 120],
        [10, 20],
    ]


def test_polygons(project: Path) -> None:
    shape = {"points": [[10, 10], [50, 10], [50, 50]]}
    results = [{"id": "a", "value": shape, **SIZE}, {"id": "a", "value": shape | {"text": "amber"}, **SIZE}]
    assert export(project, task(*results))[0]["region"] == [[20, 10], [100, 10], [100, 50]]


def test_a_text_of_the_whole_image(project: Path) -> None:
    row = export(project, task({"id": "x", "value": {"text": ["amber"]}}, {"id": "y", "value": {"choices": ["ok"]}}))[0]
    assert (row["text"], row["region"], row["problem"]) == ("amber", None, None)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (task(was_cancelled=True), "skipped"),
        (task(), "not_transcribed"),
        ({"id": 1, "annotations": [], "data": {"image": "/data/upload/1/0a1b2c3d-page.png"}}, "not_transcribed"),
        (task(box()[0]), "not_transcribed"),
        (task(*box([""])), "empty_label"),
        (task(*box(["###"])), "placeholder"),
        (task(*box({"a": 1})), "label_not_text"),
        (task(*box(width="wide")), "no_coordinates"),
        (task(*(result | {"image_rotation": 90} for result in box())), "rotated_page"),
        (task(*box(), image="s3://bucket/other.png"), "missing_image"),
        (task(*box(), image="no image at all"), "no_image"),
        (task(*box(), image="x" * 5000 + ".png"), "missing_image"),
        (task(*box(), image="https://[other.png"), "image_is_url"),
        ({"id": 1, "annotations": None, "data": None}, "not_transcribed"),
        ("no task", "invalid_record"),
    ],
)
def test_what_cannot_be_used_is_named(given: Any, problem: str, project: Path) -> None:
    rows = export(project, task(*box()), given, task(*box()))
    assert [row["problem"] for row in rows] == [None, problem, None]


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/0a1b2c3d-page.png",
        "/data/upload/0a1b2c3d-page.png",
        "/data/local-files/?d=images/0a1b2c3d-page.png",
        "http://localhost:8080/data/upload/1/0a1b2c3d-page.png",
        "https://bucket.example.org/a/0a1b2c3d-page.png?token=1",
        "images/0a1b2c3d-page.png",
    ],
)
def test_names_of_images(image: str, project: Path) -> None:
    assert export(project, task(*box(), image=image))[0]["problem"] is None


def test_the_original_of_an_upload(project: Path) -> None:
    (project / "images" / "0a1b2c3d-page.png").rename(project / "page.png")
    assert export(project, task(*box()))[0]["image"]["path"] == str(project / "page.png")


def test_of_several_annotations_the_ground_truth(project: Path) -> None:
    first, second, third = (task(*box([text]))["annotations"][0] for text in ("one", "two", "three"))
    several = task() | {"annotations": [first | {"was_cancelled": True}, second, third | {"ground_truth": True}]}
    assert export(project, several)[0]["text"] == "three"


def flat(**cells: Any) -> dict[str, Any]:
    start = {"image": "/data/upload/1/0a1b2c3d-page.png", "id": 1, "annotator": 1, "annotation_id": 1, "lead_time": 2.5}
    return start | cells


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"bbox": [RECTANGLE | SIZE], "transcription": ["amber"]}, ("amber", None)),
        ({"bbox": [RECTANGLE | SIZE], "transcription": "amber"}, ("amber", None)),
        ({"label": [RECTANGLE | SIZE], "ocr": ["amber"]}, ("amber", None)),
        ({"bbox": [RECTANGLE | SIZE] * 2, "transcription": ["amber"]}, (None, "unpaired_boxes")),
        ({"transcription": ["amber", "cedar"]}, ("amber\ncedar", None)),
        ({"bbox": [RECTANGLE | SIZE]}, (None, "unpaired_boxes")),
        ({}, (None, "empty_page")),
    ],
)
def test_flat_exports(cells: dict[str, Any], expected: tuple[str | None, str | None], project: Path) -> None:
    import csv

    row = read(write(project / "project-1.json_min.json", json.dumps([flat(**cells)])))[0]
    assert (row["text"], row["problem"]) == expected
    with open(project / "project-2.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(flat(**cells)), quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        values = {name: json.dumps(cell) if isinstance(cell, list) else cell for name, cell in flat(**cells).items()}
        writer.writerow(values)
    row = read(project / "project-2.csv")[0]
    assert (row["text"], row["problem"]) == expected


def test_of_several_exports_json_and_the_newest(project: Path) -> None:
    for name, text in (("project-1-at-2025", "old"), ("project-1-at-2026", "new")):
        write(project / f"{name}.json", json.dumps([task(*box([text]))]))
        flat_one = [flat(bbox=[RECTANGLE], transcription=["flat"])]
        write(project / f"{name}.json_min.json", json.dumps(flat_one))
    assert [row["text"] for row in read(project)] == ["new"]


@pytest.mark.parametrize(
    "text", ["[", '[{"annotations": [], "data": {}, "result": ', '[{"annotation_id": 1, "lead_time": ']
)
def test_damaged_exports_are_one_line(text: str, project: Path) -> None:
    from glm_ocr_finetune.errors import UserError

    with pytest.raises(UserError, match="item 1 of the list is not JSON") as error:
        read(write(project / "project-1.json", text))
    assert "\n" not in str(error.value)
