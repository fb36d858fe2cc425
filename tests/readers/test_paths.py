"""Images are found however their paths were written, inside the data set only, and what was done is said."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from writing import picture, read, texts, write, write_objects

from glm_ocr_finetune.readers.paths import image_finder


def one(folder: Path, image: object, **options: str) -> dict[str, object]:
    return read(write_objects(folder / "rows.jsonl", {"image": image, "text": "a"}), **options)[0]


@pytest.mark.parametrize(
    "name",
    [
        "images\\0.png",
        ".\\images\\0.png",
        "./images//0.png",
        " images/0.png ",
        "C:\\data\\images\\0.png",
        "c:/data/set/images/0.png",
        "\\\\server\\share\\images\\0.png",
        "/home/somebody/scans/images/0.png",
        "D:0.png",
        "images/0.PNG",
        "IMAGES/0.png",
        "set/images/0.png",
        "0.png",
    ],
)
def test_paths_of_other_machines(name: str, folder: Path) -> None:
    found = one(folder, name)
    assert (found["problem"], found["image"]["path"]) == (None, str(folder / "images" / "0.png"))  # type: ignore[index]


def test_other_paths_are_counted_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"image": f"C:\\data\\images\\{index}.png", "text": "a"} for index in range(3)]
    assert texts(write_objects(folder / "rows.jsonl", *rows)) == ["a"] * 3
    assert "3 image paths do not exist as written; read instead, e.g., C:\\data\\images\\0.png -> " in caplog.text
    assert "--image_folder" in caplog.text


def test_paths_as_written_are_not_talked_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert one(folder, "images/0.png")["problem"] is None
    assert all(record.levelname == "INFO" for record in caplog.records)


def test_below_an_image_is_nothing(folder: Path) -> None:
    assert one(folder, "images/0.png/missing.png")["problem"] == "missing_image"
    assert one(folder, "/0.png/missing.png")["problem"] == "missing_image"


def test_longest_end_wins(folder: Path) -> None:
    picture(folder / "a" / "images" / "0.png")
    assert one(folder, "/x/a/images/0.png")["image"]["path"] == str(folder / "a" / "images" / "0.png")  # type: ignore[index]


def test_two_images_of_one_name_are_not_confused(folder: Path) -> None:
    rows = [{"image": f"/elsewhere/{name}/0.png", "text": name} for name in "ab"]
    assert texts(write_objects(folder / "rows.jsonl", *rows)) == ["a", "ambiguous_image"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_file", ["NFC", "NFD"])
def test_accents_composed_or_not(on_disk: str, in_file: str, folder: Path) -> None:
    image = picture(folder / unicodedata.normalize(on_disk, "é") / unicodedata.normalize(on_disk, "Ärger.png"))
    name = unicodedata.normalize(in_file, "é/Ärger.png")
    assert one(folder, name)["image"]["path"] == str(image)  # type: ignore[index]


def test_names_that_differ_in_case_only(folder: Path) -> None:
    picture(folder / "a.png")
    picture(folder / "A.png")
    assert one(folder, "a.png")["image"]["path"] == str(folder / "a.png")  # type: ignore[index]
    assert one(folder, "a.PNG")["problem"] == "missing_image"


def test_the_path_that_was_tried_is_the_detail(folder: Path) -> None:
    found = one(folder, "gone/abc.png")
    assert (found["problem"], found["detail"]) == ("missing_image", str(folder / "gone" / "abc.png"))
    assert one(folder, "/gone/abc.png")["detail"] == "/gone/abc.png"
    assert one(folder, "C:\\gone\\abc.png")["problem"] == "missing_image"


def test_absolute_paths_elsewhere_need_the_image_folder(folder: Path) -> None:
    image = picture(folder.parent / "elsewhere" / "x.png")
    found = one(folder, str(image))
    assert (found["problem"], found["detail"]) == ("path_outside_data_set", str(image))
    assert one(folder, str(image), image_folder=str(image.parent))["problem"] is None


def test_an_absolute_path_that_exists_elsewhere_is_not_another_image(folder: Path) -> None:
    image = picture(folder.parent / "elsewhere" / "0.png")
    assert one(folder, str(image))["problem"] == "path_outside_data_set"


def test_links_must_not_lead_out(folder: Path) -> None:
    secret = picture(folder.parent / "secret" / "0.png")
    os.symlink(secret, folder / "link.png")
    os.symlink(secret.parent, folder / "linked")
    os.symlink(folder / "images" / "0.png", folder / "inner.png")
    for name in ("link.png", "linked/0.png"):
        found = one(folder, name)
        assert found["problem"] == "path_outside_data_set"
        assert str(secret) in str(found["detail"])
        assert one(folder, name, image_folder=str(secret.parent))["problem"] is None
    assert one(folder, "inner.png")["problem"] is None


def test_a_data_set_behind_a_link(folder: Path) -> None:
    os.symlink(folder, folder.parent / "link")
    path = write_objects(folder.parent / "link" / "rows.jsonl", {"image": "images/0.png", "text": "a"})
    assert texts(path) == ["a"]


def test_a_snapshot_of_the_hubs_cache(tmp_path: Path) -> None:
    blob = picture(tmp_path / "data" / "blobs" / "abc.png")
    snapshot = tmp_path / "data" / "snapshots" / "123"
    snapshot.mkdir(parents=True)
    os.symlink(blob, snapshot / "0.png")
    assert texts(write_objects(snapshot / "metadata.jsonl", {"file_name": "0.png", "text": "a"})) == ["a"]


def test_file_urls_are_paths(folder: Path) -> None:
    (folder / "images" / "0.png").rename(folder / "images" / "a b.png")
    assert one(folder, f"file://{folder}/images/a%20b.png")["problem"] is None
    assert one(folder, "https://example.org/0.png")["problem"] == "image_is_url"
    assert one(folder, "s3://bucket/0.png")["problem"] == "image_is_url"


def test_no_way_out_by_dots(folder: Path) -> None:
    picture(folder.parent / "secret.png")
    for name in (
        "../secret.png",
        "..\\secret.png",
        "/x/../secret.png",
        "images/../../secret.png",
        "C:\\..\\secret.png",
    ):
        assert one(folder, name)["problem"] in ("path_outside_data_set", "missing_image"), name


@pytest.mark.parametrize("name", ["a\0.png", "x" * 5000 + ".png", "images", "\ud800.png", "\u202e.png"])
def test_odd_names_are_problems_of_their_row(name: str, folder: Path) -> None:
    rows = [{"image": name, "text": "a"}, {"image": "images/0.png", "text": "b"}]
    found = texts(write_objects(folder / "rows.jsonl", *rows))
    assert found[1] == "b"
    assert found[0] in ("missing_image", "invalid_path", "a")


def test_names_in_other_scripts_with_blanks_and_brackets(folder: Path) -> None:
    name = "Capucin_ _[...]_ ܡܕܡ 日本.png"
    shutil.copy(folder / "images" / "0.png", folder / name)
    assert texts(write(folder / "rows.csv", f"image,text\n{name},a\n")) == ["a"]


def test_many_missing_images_are_quickly_told(folder: Path) -> None:
    finder = image_finder([str(folder)], None)
    for index in range(2000):
        assert finder.find(f"C:\\a\\b\\{index}.jpg", str(folder)).problem == "missing_image"
    assert finder.missing == 2000
