"""Streams give the rows that the whole table has: the same images, labels, sources and problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawing import WORDS, write_lines
from streamed import lines, write_parquet, write_shards

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import content_key
from glm_ocr_finetune.readers import load_rows, load_stream
from glm_ocr_finetune.readers.rows import ReadOptions
from glm_ocr_finetune.readers.streams import fingerprint, hub_stream, num_rows


def stream(path: Path, split: str = "train", **options: Any) -> Any:
    return load_stream(str(path), split=split, options=ReadOptions(**options))


def read(source: Any) -> list[Any]:
    return [row for part in source.parts for row in source.read(part)]


def without_image(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "image"}


def assert_same_rows(path: Path, **options: Any) -> None:
    streamed, whole = read(stream(path, **options)), list(load_rows(str(path), split="train", **options))
    assert list(map(without_image, streamed)) == list(map(without_image, whole))
    assert len(streamed) > 2
    for ours, theirs in zip(streamed, whole, strict=True):
        assert bool(ours["image"]) == bool(theirs["image"])
        assert ours["problem"] or content_key(ours["image"]) == content_key(theirs["image"])


def test_parquet(tmp_path: Path) -> None:
    assert_same_rows(write_parquet(tmp_path, 33))
    source = stream(tmp_path)
    assert [(part.group, part.first, part.rows) for part in source.parts[:5]] == [
        (0, 0, 5),
        (1, 5, 5),
        (2, 10, 5),
        (3, 15, 2),
        (0, 17, 5),
    ]
    assert num_rows(source) == 33


def test_tar_shards(tmp_path: Path) -> None:
    assert_same_rows(write_shards(tmp_path, 33))
    assert num_rows(stream(tmp_path)) is None


COLUMNS: list[dict[str, Any]] = [
    {"im": [image for image, _ in lines(4)], "ground_truth": [1, 0, None, 3]},  # CATMuS's bytes, and numbers
    {"image": [{"bytes": image, "path": "a.png"} for image, _ in lines(4)], "text": ["a", None, " b ", "c"]},
    {"images": [[{"bytes": image, "path": None}] for image, _ in lines(4)], "text": list("abcd")},
    {
        "image": [{"bytes": image, "path": None} for image, _ in lines(4)],
        "conversations": [
            [{"from": "human", "value": "<image>Read:"}, {"from": "gpt", "value": text}] for text in ("a", "b", "", "d")
        ],
    },
    {"image": [{"bytes": image, "path": None} for image, _ in lines(4)], "text": list("abcd"), "prompt": list("pqrs")},
]


@pytest.mark.parametrize("columns", COLUMNS)
def test_columns_are_found_as_in_tables(columns: dict[str, Any], tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "train.parquet", row_group_size=3)
    assert_same_rows(tmp_path)


def test_named_columns_and_image_files_beside_the_table(tmp_path: Path) -> None:
    write_lines(tmp_path, "list", WORDS[:4])
    (tmp_path / "list.jsonl").unlink()
    names = [f"images/list-{index}.png" for index in range(3)]
    table = pa.table({"scan": [*names, "images/none.png", "../x.png"], "said": ["a", "b", "c", "d", "e"]})
    pq.write_table(table, tmp_path / "train.parquet")
    assert_same_rows(tmp_path, image_column="scan", text_column="said")
    problems = [row["problem"] for row in read(stream(tmp_path, image_column="scan", text_column="said"))]
    assert problems == [None, None, None, "missing_image", "path_outside_data_set"]


def test_parts_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    first, second = (write_parquet(tmp_path / name, 20) for name in ("a", "b"))
    other = write_parquet(tmp_path / "c", 20, rows_of_a_group=6)
    assert fingerprint(stream(first)) == fingerprint(stream(second)) != fingerprint(stream(other))


def test_the_hub_s_builders_name_the_files(tmp_path: Path) -> None:
    """``datasets`` finds the files of a folder as it finds those of a hub data set."""
    for folder in (write_parquet(tmp_path / "a", 12), write_shards(tmp_path / "b", 12)):
        source = hub_stream(str(folder), "train", ReadOptions())
        rows = read(source)
        assert [row["text"] for row in rows if row["text"]] == [f"row {row}" for row in range(12) if row != 7]
        assert all(part.name.startswith("train-") for part in source.parts)
        with pytest.raises(UserError, match="has no split 'test'; its splits: train"):
            hub_stream(str(folder), "test", ReadOptions())
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "train.jsonl").write_text(json.dumps({"image": "a.png", "text": "a"}) + "\n")
    with pytest.raises(UserError, match=r"made of Json\w* files: leave it out"):
        hub_stream(str(tmp_path / "c"), "train", ReadOptions())


def test_other_formats_are_refused_in_one_line(tmp_path: Path, line_folder: Path) -> None:
    with pytest.raises(UserError, match=r"reads parquet files and tar shards, not .jsonl files .*leave it out"):
        stream(line_folder)
    (tmp_path / "1.txt").write_text("amber")
    (tmp_path / "1.png").write_bytes(lines(1)[0][0])
    with pytest.raises(UserError, match="not this format"):
        stream(tmp_path)
    with pytest.raises(UserError, match="has no split 'test'"):
        stream(write_parquet(tmp_path / "p", 12), "test")


def test_damage_is_a_row_that_ends_its_part(tmp_path: Path) -> None:
    tar = sorted(write_shards(tmp_path / "t", 30).iterdir())[1]
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    rows = read(stream(tmp_path / "t"))
    assert [row["source"] for row in rows if row["problem"] == "unreadable_part"] == [tar.name]
    assert 20 < len(rows) < 30
    file = sorted(write_parquet(tmp_path / "p", 30, files=1).iterdir())[0]
    data = bytearray(file.read_bytes())
    start = pq.ParquetFile(file).metadata.row_group(3).column(0).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    file.write_bytes(bytes(data))
    rows = read(stream(tmp_path / "p"))
    assert [row["problem"] for row in rows].count("unreadable_part") == 1
    assert len(rows) == 26


def test_damage_at_the_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no parquet PAR1")
    with pytest.raises(UserError, match=r"train.parquet cannot be read as parquet") as error:
        stream(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(UserError, match=r"1.tar cannot be read as a tar"):
        stream(tmp_path / "a")
