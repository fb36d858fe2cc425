"""Malformed files: a problem of the row, or one line that names the file; never a traceback, never silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from writing import picture, read, write

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.readers import PROBLEMS
from glm_ocr_finetune.readers.rows import problem_in_words

CSV = "image,text\n"
BOX = '{"transcription": "amber", "points": [[1, 2], [30, 2], [30, 9], [1, 9]]}'
RECTANGLE = '{"x": 10, "y": 20, "width": 50, "height": 10, "text": ["amber"]}'
TASK = '{"annotations": [{"was_cancelled": false, "result": [{"id": "a", "value": %s}]}], "data": {"image": "images/0.png"}}'
LINE = {"image": "images/0.png", "text": "amber"}


def task(value: str = RECTANGLE) -> str:
    result = f'{{"was_cancelled": false, "result": [{{"id": "a", "value": {value}}}]}}'
    return f'[{{"annotations": [{result}], "data": {{"image": "images/0.png"}}}}]'


FILES: dict[str, list[str | bytes]] = {
    "rows.csv": [
        "",
        "\n\n\n",
        "\x00\x00\x00\x00",
        b"\xff\xfe",
        b"\xff\xfea",
        b"\x80\x81\x82\x83",
        "image",
        "image,text",
        "image;text\n",
        "text\namber\n",
        "image\nimages/0.png\n",
        "a,b\n1,2\n",
        "image,image\nimages/0.png,images/0.png\n",
        "images/0.png,a,b\n",
        CSV + "images/0.png\n",
        CSV + "images/0.png,a,b\n",
        CSV + ",amber\n",
        CSV + '"images/0.png,amber\n',
        CSV + "images/9.png,amber\n",
        CSV + "../../etc/passwd,amber\n",
        CSV + "https://example.org/a.png,amber\n",
        CSV.encode() + b"images/0.png,\xff\xfe\n" + "images/1.png,Ä\u00f6\u00fc\n".encode(),
        CSV + "images/0.png,a\x00b\n",
        CSV + "images/0.png," + "x" * 300_000 + "\n",
    ],
    "rows.jsonl": [
        "",
        "{",
        "[]",
        "[1]",
        "null",
        "{}",
        '{"image": "images/0.png"}',
        '{"text": "amber"}',
        '{"image": "images/0.png", "text": }',
        "{'image': 'images/0.png', 'text': 'amber'}",
        '{"image": "images/0.png", "text": "amber"',
        '{"image": "images/0.png", "text": "amber", "text": "cedar"}',
        json.dumps(LINE | {"text": None}),
        json.dumps(LINE | {"text": ["amber"]}),
        json.dumps(LINE | {"image": None}),
        json.dumps(LINE | {"image": 12}),
        json.dumps(LINE | {"image": ["images/0.png", "images/1.png"]}),
        json.dumps(LINE | {"image": "data:image/png;base64,???"}),
        json.dumps(LINE | {"text": "\ud800"}),
        json.dumps({"messages": [], "images": ["images/0.png"]}),
        json.dumps({"messages": [{"role": "user"}, {"role": "assistant"}], "images": ["images/0.png"]}),
        "[" * 100_000,
        b"\xff\xfe\x00\x00\x01",
    ],
    "Label.txt": [
        "images/0.png\t[]",
        'images/0.png\t[{"transcription": "amber"}, 1]',
        'images/0.png\t[{"transcription": "amber"}]',
        'images/0.png\t[{"transcription": "amber", "points": []}]',
        'images/0.png\t[{"transcription": "amber", "points": [[1, 2]]}]',
        'images/0.png\t[{"transcription": "amber", "points": [["a", "b"], [1, 2]]}]',
        'images/0.png\t[{"transcription": "amber", "points": [[1, 2, 3], [4, 5, 6]]}]',
        'images/0.png\t[{"transcription": "amber", "points": null}]',
        'images/0.png\t[{"transcription": null, "points": [[1, 2], [3, 4]]}]',
        'images/0.png\t[{"transcription": ["a"], "points": [[1, 2], [3, 4]]}]',
        f'images/0.png\t[{BOX[:-1]}, "difficult": true}}]',
        f"images/0.png\t[{BOX.replace('amber', '###')}]",
        f"images/0.png\t[{BOX.replace('amber', '')}]",
        f"images/9.png\t[{BOX}]",
        f"../0.png\t[{BOX}]",
        f"images/0.png\t[{BOX}",
        f"images/0.png\t[{BOX}] trailing",
        "images/0.png\t",
        "images/0.png\t###",
        "images/0.png",
        "no image\tamber",
    ],
    "project-1.json": [
        task()[:-1],
        task() + " trailing",
        task("null"),
        task("[]"),
        task("{}"),
        task(RECTANGLE.replace("10", "null")),
        task(RECTANGLE.replace("10", "NaN")),
        task(RECTANGLE.replace('["amber"]', "null")),
        task(RECTANGLE.replace('["amber"]', "[]")),
        task(RECTANGLE.replace('["amber"]', "{}")),
        task(RECTANGLE.replace("amber", "###")),
        task().replace("images/0.png", "images/9.png"),
        task().replace("images/0.png", "/data/upload/1/none.png"),
        task().replace("images/0.png", "nothing"),
        task().replace('"images/0.png"', "12"),
        task().replace("false", "true"),
        '[{"annotations": [], "data": {"image": "images/0.png"}, "result": 1}]',
        '[{"annotations": [1], "data": {"image": "images/0.png"}, "result": 1}]',
        '[{"annotations": [{"result": 1}], "data": {"image": "images/0.png"}}]'.replace("1}", "null}"),
        '[{"annotations": [{"result": [1, "a"]}], "data": {"image": "images/0.png"}}]',
        '[{"annotation_id": 1, "lead_time": 1}]',
        '[{"annotation_id": 1, "lead_time": 1, "image": "images/0.png", "bbox": [{"x": 1}], "transcription": []}]',
        '[{"annotation_id": 1, "lead_time": 1, "image": "images/0.png", "bbox": "[", "transcription": ""}]',
    ],
}
CASES = [(name, number) for name, contents in FILES.items() for number in range(len(contents))]


def test_there_are_twenty_of_each() -> None:
    assert all(len(contents) >= 20 for contents in FILES.values())


def rows_or_error(path: Path) -> tuple[list[dict[str, Any]], str]:
    try:
        return read(path), ""
    except UserError as error:
        return [], str(error)


@pytest.mark.parametrize(("name", "number"), CASES)
def test_one_line_each(name: str, number: int, tmp_path: Path) -> None:
    for index in range(2):
        picture(tmp_path / "images" / f"{index}.png", size=(100, 100))
    path = write(tmp_path / name, FILES[name][number])
    rows, error = rows_or_error(path)
    assert rows or (error.strip() and "\n" not in error)
    if not rows:
        return
    assert any(row["problem"] for row in rows), [row["text"] for row in rows]
    for row in rows:
        assert row["problem"] is None or row["problem"] in PROBLEMS
        if row["problem"]:
            assert problem_in_words(row).strip()
