"""Parquet files and tar shards that tests draw themselves, with rows that cannot be used among them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from drawing import draw_line

BAD = {7: "empty_label", 13: "unreadable_image", 29: "too_long"}
"""Row -> why it cannot be used."""


def lines(count: int) -> list[tuple[bytes, str]]:
    """PNG and text of each row; those in ``BAD`` cannot be used."""
    made = []
    for row in range(count):
        stream = io.BytesIO()
        draw_line(f"row {row}", (112, 56)).save(stream, "PNG")
        text = {7: "  ", 29: "long " * 1200}.get(row, f"row {row}")
        made.append((b"no image" if row == 13 else stream.getvalue(), text))
    return made


def write_parquet(folder: Path, count: int, rows_of_a_group: int = 5, files: int = 2) -> Path:
    """``train-*.parquet`` with an image column as ``datasets`` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = lines(count)
    images = [{"bytes": image, "path": None} for image, _ in made]
    table = pa.table({"image": images, "text": [text for _, text in made]})
    each = -(-count // files)
    for number in range(files):
        name = folder / f"train-{number:05d}-of-{files:05d}.parquet"
        pq.write_table(table.slice(number * each, each), name, row_group_size=rows_of_a_group)
    return folder


def write_shards(folder: Path, count: int, shards: int = 3) -> Path:
    """``train-*.tar`` with a PNG and a text for each row."""
    folder.mkdir(parents=True, exist_ok=True)
    each = -(-count // shards)
    for start in range(0, count, each):
        with tarfile.open(folder / f"train-{start // each:05d}.tar", "w") as archive:
            for row, (image, text) in list(enumerate(lines(count)))[start : start + each]:
                for suffix, data in (("png", image), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{row:04d}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return folder
