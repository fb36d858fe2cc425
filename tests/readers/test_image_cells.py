"""What a table may hold for an image."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from writing import read, write_objects

from glm_ocr_finetune.inputs.images import open_upright

PIXELS = [[0, 128, 255], [255, 128, 0]]


def encoded(kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(np.array(PIXELS, np.uint8)).resize((40, 30)).save(stream, kind)
    return stream.getvalue()


def one(folder: Path, cell: Any) -> dict[str, Any]:
    return read(write_objects(folder / "rows.jsonl", {"image": cell, "text": "a"}))[0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("form", ["plain", "data URL", "bytes", "wrapped lines"])
def test_base64(kind: str, form: str, folder: Path) -> None:
    text = base64.b64encode(encoded(kind)).decode()
    lines = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    cells = {"plain": text, "data URL": f"data:image/x;base64,{text}", "bytes": {"bytes": text}, "wrapped lines": lines}
    row = one(folder, cells[form])
    assert row["problem"] is None
    assert row["image"]["bytes"] == encoded(kind)


@pytest.mark.parametrize("cell", ["data:image/png;base64,???", {"bytes": "???"}, [[1, 2], [3]], [[[1] * 5] * 5] * 5])
def test_damaged_images_are_problems(cell: Any, folder: Path) -> None:
    row = one(folder, cell)
    assert row["problem"] == "invalid_image"
    assert row["detail"]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (PIXELS, (128, 128, 128)),
        ([[[0, 0, 0], [1, 2, 3]]], (1, 2, 3)),
        ([[[0, 0, 0, 255], [1, 2, 3, 255]]], (1, 2, 3)),
        ([[[9], [7]]], (7, 7, 7)),
        ([[0.0, 0.5]], (128, 128, 128)),
        ([[[0, 9, 9, 9, 9]], [[0, 5, 5, 5, 5]], [[0, 7, 7, 7, 7]]], (9, 5, 7)),
    ],
)
def test_pixels(pixels: Any, expected: tuple[int, ...], folder: Path) -> None:
    row = one(folder, pixels)
    assert row["problem"] is None
    assert open_upright(row["image"]).getpixel((1, 0)) == expected


def test_pixels_in_tables(folder: Path) -> None:
    from datasets import Array2D, Dataset, Features, Value

    features = Features({"image": Array2D((2, 3), "uint8"), "text": Value("string")})
    Dataset.from_dict({"image": [PIXELS], "text": ["a"]}, features=features).to_parquet(folder / "a.parquet")
    Dataset.from_dict({"image": [PIXELS], "text": ["a"]}).to_parquet(folder / "b.parquet")
    for name in ("a.parquet", "b.parquet"):
        row = read(folder / name)[0]
        assert row["problem"] is None
        assert open_upright(row["image"]).getpixel((1, 0)) == (128, 128, 128)


def test_raw_bytes_in_tables(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"image": [encoded()], "text": ["a"]}), folder / "a.parquet")
    row = read(folder / "a.parquet")[0]
    assert row["image"]["bytes"] == encoded()


@pytest.mark.parametrize("cell", [None, "", [], {}, {"path": None}, {"bytes": "", "path": ""}, 12, True, "  "])
def test_no_image(cell: Any, folder: Path) -> None:
    rows = [{"image": "images/0.png", "text": "a"}] * 2 + [{"image": cell, "text": "b"}]
    assert read(write_objects(folder / "rows.jsonl", *rows))[2]["problem"] in ("no_image", "missing_image")


def test_lists_of_images(folder: Path) -> None:
    row = one(folder, ["images/0.png", "images/1.png"])
    assert (row["problem"], row["detail"]) == ("several_images", "2 images")
    assert one(folder, ["images/0.png"])["problem"] is None
    assert one(folder, [{"path": "images/0.png"}])["problem"] is None
