"""Small files of every form, and what is read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from glm_ocr_finetune.readers import load_rows


def picture(path: Path, shade: int = 200, size: tuple[int, int] = (40, 30)) -> Path:
    """An image file of one shade, (width, height) in pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, shade).save(path)
    return path


def write(path: Path, text: str | bytes) -> Path:
    """A file of this text, in UTF-8 and with its line ends as they are, or of these bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def write_objects(path: Path, *rows: Any) -> Path:
    """JSON Lines; a string is a line as it is."""
    return write(path, "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def read(path: Path, **options: Any) -> list[dict[str, Any]]:
    """All rows of the split ``train``."""
    return load_rows(str(path), split="train", **options).to_list()


def texts(path: Path, **options: Any) -> list[str | None]:
    """The labels of rows that can be used, and the problems of the others."""
    return [row["problem"] or row["text"] for row in read(path, **options)]
