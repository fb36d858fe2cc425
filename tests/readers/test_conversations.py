"""Conversations of every trainer's making: one question with one image, one answer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from writing import read, write_objects

ANSWER = {"role": "assistant", "content": "amber"}
IMAGE = ["images/0.png"]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def inline(**part: Any) -> dict[str, Any]:
    return {"messages": [user([{"type": "image", **part}, text_part("OCR")]), ANSWER]}


ROWS: dict[str, dict[str, Any]] = {
    "LLaMA-Factory": {"messages": [user("<image>OCR"), ANSWER], "images": IMAGE},
    "LLaVA": {
        "image": "0.png",
        "conversations": [{"from": "human", "value": "<image>\nOCR"}, {"from": "gpt", "value": "amber"}],
    },
    "Qwen inline": inline(image="images/0.png"),
    "Qwen file URL": inline(image="file:///images/0.png"),
    "OpenAI": {
        "messages": [user([{"type": "image_url", "image_url": {"url": "images/0.png"}}, text_part("OCR")]), ANSWER]
    },
    "transformers path": inline(path="images/0.png"),
    "transformers url": inline(url="images/0.png"),
    "placeholder": inline() | {"images": IMAGE},
    "no tag": {"messages": [user("OCR"), ANSWER], "images": IMAGE},
    "single image string": {"messages": [user("OCR"), ANSWER], "image": IMAGE[0]},
    "TRL prompt and completion": {"prompt": [user("OCR")], "completion": [ANSWER], "images": IMAGE},
    "TRL parts": {
        "prompt": [user([{"type": "image"}, text_part("OCR")])],
        "completion": [{"role": "assistant", "content": [text_part("amber")]}],
        "images": IMAGE,
    },
    "TRL plain": {"prompt": "OCR", "completion": "amber", "images": IMAGE},
    "ms-swift old": {"query": "<image>OCR", "response": "amber", "images": IMAGE, "history": []},
    "ms-swift inline": {"query": "<img>images/0.png</img>OCR", "response": "amber", "images": []},
    "Alpaca": {"instruction": "OCR", "input": "", "output": "amber", "images": IMAGE},
    "question": {"question": "OCR", "answer": "amber", "image": IMAGE[0]},
    "prompt with a tag": {"prompt": "<image>\nOCR", "text": "amber", "image": IMAGE[0]},
    "Qwen tokens": {
        "prompt": "<|vision_start|><|image_pad|><|vision_end|>OCR",
        "text": "amber",
        "image": IMAGE[0],
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_forms(name: str, folder: Path) -> None:
    row = read(write_objects(folder / "rows.jsonl", ROWS[name]))[0]
    assert (row["prompt"], row["text"], row["problem"]) == ("OCR", "amber", None)
    assert row["image"]["path"] == str(folder / "images" / "0.png")


@pytest.mark.parametrize("name", [name for name in ROWS if ROWS[name].get("images") and name != "placeholder"])
def test_forms_in_parquet(name: str, folder: Path) -> None:
    from datasets import Dataset

    Dataset.from_list([ROWS[name]]).to_parquet(folder / "rows.parquet")
    row = read(folder / "rows.parquet")[0]
    assert (row["prompt"], row["text"], row["problem"]) == ("OCR", "amber", None)


def test_inline_base64(folder: Path) -> None:
    data = (folder / "images" / "0.png").read_bytes()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    row = read(write_objects(folder / "rows.jsonl", inline(image=url)))[0]
    assert row["image"]["bytes"] == data


def test_alpacas_input_belongs_to_the_prompt(folder: Path) -> None:
    row = ROWS["Alpaca"] | {"input": "in German"}
    assert read(write_objects(folder / "rows.jsonl", row))[0]["prompt"] == "OCR\nin German"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (inline(image="https://example.org/a.png"), "image_is_url"),
        (inline(image="/etc/passwd"), "path_outside_data_set"),
        (inline(), "no_image"),
        ({"messages": [user("OCR")], "images": IMAGE}, "several_turns"),
        ({"messages": [ANSWER, user("OCR")], "images": IMAGE}, "several_turns"),
        ({"messages": [], "images": IMAGE}, "several_turns"),
        ({"messages": [user("a"), ANSWER, user("b"), ANSWER], "images": IMAGE}, "several_turns"),
        ({"messages": [{"role": "system", "content": "x"}, user("a"), ANSWER], "images": IMAGE}, "system_message"),
        ({"messages": [user("a"), ANSWER], "images": IMAGE, "system": "x"}, "system_message"),
        ({"messages": [user("a"), ANSWER], "images": [*IMAGE, *IMAGE]}, "several_images"),
        ({"messages": [user("<image><image>a"), ANSWER], "images": IMAGE}, "several_images"),
        ({"messages": [user([{"type": "image", "image": "a"}] * 2), ANSWER]}, "several_images"),
        ({"messages": [user("a"), {"role": "assistant", "content": None}], "images": IMAGE}, "empty_label"),
        ({"messages": [user("a"), {"role": "assistant", "content": ""}], "images": IMAGE}, "empty_label"),
        ({"messages": [user(None), ANSWER], "images": IMAGE}, "invalid_record"),
        ({"messages": "a", "images": IMAGE}, "invalid_record"),
        ({"messages": [1, 2], "images": IMAGE}, "invalid_record"),
        ({"messages": None, "images": IMAGE}, "invalid_record"),
        ({"messages": [user("a"), {"role": "tool", "content": "x"}], "images": IMAGE}, "several_turns"),
        ({"messages": [user("a"), {"role": "assistant", "content": {"a": 1}}], "images": IMAGE}, "label_not_text"),
    ],
)
def test_what_is_no_single_turn(row: dict[str, Any], problem: str, folder: Path) -> None:
    good = ROWS["LLaMA-Factory"]
    found = read(write_objects(folder / "rows.jsonl", good, row, good, good))
    assert [row["problem"] for row in found] == [None, problem, None, None]


def test_several_kinds_in_one_file(folder: Path) -> None:
    rows = [ROWS["LLaMA-Factory"], ROWS["ms-swift old"], {"images": IMAGE}]
    found = read(write_objects(folder / "rows.jsonl", *rows))
    assert [(row["prompt"], row["text"], row["problem"]) for row in found] == [
        ("OCR", "amber", None),
        ("OCR", "amber", None),
        (None, None, "invalid_record"),
    ]


def test_history_is_another_turn(folder: Path) -> None:
    row = ROWS["ms-swift old"] | {"history": [["a", "b"]]}
    assert read(write_objects(folder / "rows.jsonl", row))[0]["problem"] == "several_turns"


def test_other_columns_of_such_names_are_no_conversation(folder: Path) -> None:
    row = {"image": IMAGE[0], "text": "amber", "prompt": "OCR", "history": "edited twice", "input": "scan.tif"}
    found = read(write_objects(folder / "rows.jsonl", row))[0]
    assert (found["prompt"], found["text"], found["problem"]) == ("OCR", "amber", None)
