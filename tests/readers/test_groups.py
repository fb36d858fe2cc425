"""Rows that belong together: by a column, by the names of their images, or by what is asked for."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
from drawing import draw_line

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.readers import load_rows


def write_table(folder: Path, names: list[str], **columns: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text", *columns])
        writer.writerows(zip(names, [f"text {name}" for name in names], *columns.values(), strict=True))
    for name in names:
        draw_line("x").save(folder / name)
    return folder


def groups(folder: Path, **options: str) -> list[str | None]:
    return list(load_rows(str(folder), split="train", **options)["group"])  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="glm_ocr_finetune")


def test_a_page_column_with_many_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{index}.png" for index in range(24)]
    folder = write_table(tmp_path / "a", names, Page=[str(index // 2) for index in range(24)])
    assert groups(folder) == [f"Page={index // 2}" for index in range(24)]
    assert "grouped by the column 'Page': 12 groups" in caplog.text


def test_a_column_with_few_values_is_only_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_table(tmp_path / "a", [f"{index}.png" for index in range(8)], book=["ilias", "odyssee"] * 4)
    assert groups(folder) == [None] * 8
    assert "not grouped by the column 'book', which has only 2 different values" in caplog.text
    assert groups(folder, group_column="book") == ["book=ilias", "book=odyssee"] * 4


def test_names_of_images_tell_their_pages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"Αἴας_{page:04}_{line}.png" for page in range(10) for line in range(3)]
    found = groups(write_table(tmp_path / "a", names))
    assert [str(group).rpartition("/")[2] for group in found] == [name.rpartition("_")[0] for name in names]
    assert "grouped by page: 10 pages, from file names such as Αἴας_0000_0.png" in caplog.text


@pytest.mark.parametrize(
    "names",
    [
        [f"img_{index}.png" for index in range(30)],  # one prefix is no page
        [f"p{index}_0.png" for index in range(30)],  # one line a page
        [f"a{index}_{line}.png" for index in range(10) for line in range(3)][:-1] + ["cover.png"],
    ],
)
def test_names_that_tell_nothing(tmp_path: Path, names: list[str]) -> None:
    assert set(groups(write_table(tmp_path / "a", names))) == {None}


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "a", ["0.png"], writer=["x"])
    with pytest.raises(UserError, match=r"no column 'writter' \(--group_column\).*Did you mean 'writer'"):
        groups(folder, group_column="writter")
    (tmp_path / "pairs").mkdir()
    draw_line("x").save(tmp_path / "pairs" / "a.png")
    (tmp_path / "pairs" / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UserError, match="--group_column writer: the data set has no such column"):
        groups(tmp_path / "pairs", group_column="writer")


def test_parquet_with_embedded_images_keeps_its_groups(tmp_path: Path) -> None:
    from datasets import Dataset, Features, Image, Value

    write_table(tmp_path / "a", [f"{index}.png" for index in range(12)])
    features = Features({"image": Image(), "text": Value("string"), "writer": Value("int64")})
    rows = {
        "image": [str(tmp_path / "a" / f"{index}.png") for index in range(12)],
        "text": ["t"] * 12,
        "writer": [index % 11 for index in range(12)],
    }
    (tmp_path / "b").mkdir()
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "b" / "train.parquet")
    assert groups(tmp_path / "b") == [f"writer={index % 11}" for index in range(12)]
