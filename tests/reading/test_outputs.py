"""What is made of the results: texts and Markdown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glm_ocr_finetune.reading.outputs import write_outputs


def results(folder: Path, *rows: dict[str, object]) -> Path:
    file = folder / "readings.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def test_texts_and_documents_keep_the_folders_and_never_leave_their_own(tmp_path: Path) -> None:
    rows = [
        {"id": "/scans/α/a.pdf#page=1", "document": "/scans/α/a.pdf", "text": "erste\nSeite"},
        {"id": "/scans/α/a.pdf#page=2", "document": "/scans/α/a.pdf", "error": "gone"},
        {"id": "/scans/α/a.pdf#page=3", "document": "/scans/α/a.pdf", "text": "δ"},
        {"id": "/scans/b.png", "document": "/scans/b.png", "text": "b"},
    ]
    file = results(tmp_path, *rows)
    assert write_outputs("text", file, tmp_path, None).startswith("3 texts in ")
    found = {p.relative_to(tmp_path / "texts").as_posix() for p in (tmp_path / "texts").rglob("*.txt")}
    assert found == {"α/a.pdf#page=1.txt", "α/a.pdf#page=3.txt", "b.png.txt"}
    assert write_outputs("markdown", file, tmp_path, None).startswith("2 documents in ")
    assert (tmp_path / "markdown" / "α" / "a.pdf.md").read_text(encoding="utf-8") == "erste\nSeite\n\nδ\n"
    outside = results(
        tmp_path, {"id": "../../x", "document": "../../x", "text": "x"}, {"id": "/y", "document": "/y", "text": "y"}
    )
    write_outputs("text", outside, tmp_path / "new", None)
    assert {p.name for p in (tmp_path / "new" / "texts").rglob("*.txt")} == {"x.txt", "y.txt"}


@pytest.mark.parametrize("form", ["jsonl", "text"])
def test_nothing_is_read(tmp_path: Path, form: str) -> None:
    assert str(tmp_path) in write_outputs(form, results(tmp_path), tmp_path, None)
