"""A label is the text that somebody wrote, cleaned once, whatever the file's format thinks of it."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from writing import read, texts, write, write_objects

from glm_ocr_finetune.inputs.labels import MAX_LABEL_CHARACTERS
from glm_ocr_finetune.readers.donut import unwrapped
from glm_ocr_finetune.readers.json_files import NumberText, parse_json, write_json


@pytest.mark.parametrize(
    "number", ["1.50", "100.00", "12345678901234567890.10", "0", "-0", "1e5", "1E+05", "0.10", "1" + "0" * 400, "1.0"]
)
def test_numbers_keep_their_written_form(number: str, folder: Path) -> None:
    line = f'{{"image": "images/0.png", "text": {number}}}'
    assert texts(write(folder / "a.jsonl", line)) == [number]
    assert texts(write(folder / "a.json", f"[{line}]")) == [number]
    chat = f'{{"messages": [{{"role": "user", "content": "x"}}, {{"role": "assistant", "content": {number}}}], '
    assert texts(write(folder / "b.jsonl", chat + '"images": ["images/0.png"]}')) == [number]
    part = f'{{"role": "assistant", "content": [{{"type": "text", "text": {number}}}]}}'
    chat = f'{{"messages": [{{"role": "user", "content": "x"}}, {part}], "images": ["images/0.png"]}}'
    assert texts(write(folder / "c.jsonl", chat)) == [number]


def test_numbers_in_csv_are_text(folder: Path) -> None:
    path = write(folder / "a.csv", "image,text\nimages/0.png,007\nimages/0.png,NA\nimages/0.png,1.50\n")
    assert texts(path) == ["007", "NA", "1.50"]


def test_floats_of_tables_are_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    from datasets import Dataset

    Dataset.from_dict({"image": ["images/0.png"] * 2, "text": [1.5, None]}).to_parquet(folder / "a.parquet")
    assert texts(folder / "a.parquet") == ["1.5", "empty_label"]
    assert "labels are stored as float64: 1.50 is read as 1.5" in caplog.text


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("label", "text"),
    [(" amber 10 \n\n", "amber 10"), ("a\r\nb\r\n", "a\nb"), ("a\rb", "a\nb"), ("\u3000x\u00a0", "x"), (" \r\n", None)],
)
def test_the_label_that_is_read_is_the_cleaned_one(suffix: str, label: str, text: str | None, folder: Path) -> None:
    from datasets import Dataset

    table = Dataset.from_list([{"image": "images/0.png", "text": label}])
    path = folder / f"a.{suffix}"
    save = {"jsonl": table.to_json, "csv": partial(table.to_csv, quoting=csv.QUOTE_ALL), "parquet": table.to_parquet}
    save[suffix](str(path))
    assert texts(path) == [text or "empty_label"]


def test_embedded_images_have_cleaned_labels_too(folder: Path) -> None:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "text": Value("string")})
    image = {"bytes": (folder / "images" / "0.png").read_bytes(), "path": None}
    rows = {"image": [image] * 3, "text": [" a\r\nb ", "\n", "x" * (MAX_LABEL_CHARACTERS + 1)]}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "a.parquet")
    assert texts(folder / "a.parquet") == ["a\nb", "empty_label", "label_too_long"]


def test_labels_of_any_size_are_bounded(folder: Path) -> None:
    rows = [{"image": "images/0.png", "text": "x" * length} for length in (MAX_LABEL_CHARACTERS, 10_000_000)]
    found = read(write_objects(folder / "a.jsonl", *rows))
    assert [row["problem"] for row in found] == [None, "label_too_long"]
    assert found[1]["text"] is None
    assert found[1]["detail"] == "x" * 60
    padded = {"image": "images/0.png", "text": "x" + "\n" * 10_000_000}
    assert texts(write_objects(folder / "b.jsonl", padded)) == ["x"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("NaN", "empty_label"),
        ("Infinity", "Infinity"),
        ("true", "label_not_text"),
        ("null", "empty_label"),
        ('["a", "b"]', "label_not_text"),
        ('{"a": 1.50}', "label_not_text"),
        ('"\\ud800"', "invalid_text"),
        ('"a\\u0000"', "invalid_text"),
    ],
)
def test_what_is_no_label_is_named(label: str, expected: str, folder: Path) -> None:
    good = '{"image": "images/0.png", "text": "amber"}\n'
    path = write(folder / "a.jsonl", good + f'{{"image": "images/1.png", "text": {label}}}\n' + good)
    assert texts(path) == ["amber", expected, "amber"]


def test_a_column_of_the_wrong_kind_is_not_called_unknown(folder: Path) -> None:
    from glm_ocr_finetune.errors import UserError

    lists = read(write_objects(folder / "a.jsonl", {"image": "images/0.png", "text": ["a", "b"]}))
    assert [(row["problem"], row["detail"]) for row in lists] == [("label_not_text", "['a', 'b']")]
    with pytest.raises(UserError, match="the column 'text' holds objects or truth values, not transcriptions"):
        read(write_objects(folder / "b.jsonl", {"image": "images/0.png", "text": {"a": 1}}))
    with pytest.raises(UserError, match="the column 'label' holds images, not transcriptions"):
        read(write_objects(folder / "c.jsonl", {"image": "images/0.png", "label": {"path": "images/1.png"}}))


def test_one_row_of_another_kind_does_not_decide(folder: Path) -> None:
    rows = [{"image": "images/0.png", "text": label} for label in (["a"], "b", "c")]
    assert texts(write_objects(folder / "a.jsonl", *rows)) == ["label_not_text", "b", "c"]


WRAPPED = [
    ({"gt_parse": {"text_sequence": " a b\n"}, "meta": {}}, "a b"),
    ({"gt_parse": {"total": "1.50"}, "valid_line": [{"words": []}]}, '{"total": "1.50"}'),
    ({"gt_parse": {"b": [{"x": "ſ"}], "a": None}}, '{"b": [{"x": "ſ"}], "a": null}'),
    ({"gt_parse": [{"a": "1"}, {"a": "2"}]}, '[{"a": "1"}, {"a": "2"}]'),
    ({"gt_parse": "plain"}, "plain"),
    ({"gt_parse": {"text_sequence": "a", "class": "b"}}, '{"text_sequence": "a", "class": "b"}'),
    ({"gt_parses": [{"text_sequence": "one"}]}, "one"),
    ({"gt_parses": [{"question": "a"}, {"question": "b"}]}, "label_not_text"),
    ({"gt_parse": {"text_sequence": ""}}, "empty_label"),
    ({"gt_parse": None, "meta": {}}, "empty_label"),
]


@pytest.mark.parametrize(("wrapper", "text"), WRAPPED)
def test_donut_labels_are_what_gt_parse_holds(wrapper: Any, text: str, folder: Path) -> None:
    row = {"file_name": "images/0.png", "ground_truth": json.dumps(wrapper)}
    assert texts(write_objects(folder / "metadata.jsonl", row)) == [text]
    nested = {"file_name": "images/0.png", "ground_truth": wrapper}
    assert texts(write_objects(folder / "nested.jsonl", nested)) == [text]


def test_donut_labels_in_tables(folder: Path) -> None:
    from datasets import Dataset

    rows = [{"image": "images/0.png", "ground_truth": wrapper} for wrapper in ({"gt_parse": {"a": "1"}}, {})]
    rows += [{"image": "images/0.png", "ground_truth": {"gt_parse": {"b": ["2"]}}}]
    Dataset.from_list(rows).to_parquet(folder / "a.parquet")
    assert texts(folder / "a.parquet") == ['{"a": "1"}', "empty_label", '{"b": ["2"]}']


def test_numbers_in_donut_labels_keep_their_form(folder: Path) -> None:
    line = '{"file_name": "images/0.png", "ground_truth": "{\\"gt_parse\\": {\\"total\\": 1.50, \\"n\\": [2, 3.0]}}"}'
    assert texts(write(folder / "metadata.jsonl", line)) == ['{"total": 1.50, "n": [2, 3.0]}']


def test_a_broken_wrapper_is_never_a_label(folder: Path) -> None:
    row = {"file_name": "images/0.png", "ground_truth": '{"gt_parse": {"a": "1"}, "valid_line": ['}
    good = {"file_name": "images/0.png", "ground_truth": '{"gt_parse": {"a": "1"}}'}
    found = read(write_objects(folder / "metadata.jsonl", row, good))
    assert [row["problem"] for row in found] == ["invalid_answer", None]
    assert "Expecting value" in found[0]["detail"]


def test_json_answers_that_are_no_wrapper_stay() -> None:
    assert unwrapped('{"total": "1.50"}') == '{"total": "1.50"}'
    assert unwrapped('a "gt_parse" in a sentence') == 'a "gt_parse" in a sentence'


def test_json_is_written_as_it_was_read() -> None:
    text = '{"z": 1.50, "a": [true, null, -0.0, "\\"ſ\\n"], "m": {}}'
    assert write_json(parse_json(text)) == text
    assert isinstance(parse_json("1.50"), NumberText)
