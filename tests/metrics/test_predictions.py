from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.metrics import Reading, read_predictions, score

TRUTHS = [
    Reading("a", "alpha", "", image="images/a.png", prompt="Text Recognition:", source="s", document="p1"),
    Reading("b", "beta", "", image="images/b.png"),
    Reading("c", "", "", image="images/c.png"),
]
ROWS: list[dict[str, Any]] = [
    {"id": "a", "prediction": "alpha", "stopped": True, "num_tokens": 3},
    {"id": "b", "prediction": "bxta"},
    {"id": "c", "prediction": ""},
]


def write(path: Path, rows: list[Any]) -> Path:
    file = path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_rows_take_over_what_the_truth_knows(tmp_path: Path) -> None:
    predictions = read_predictions(write(tmp_path, ROWS), TRUTHS)
    assert predictions.readings[0] == Reading(
        "a", "alpha", "alpha", True, 3, "Text Recognition:", "s", "images/a.png", "p1"
    )
    assert predictions.readings[1].stopped is None
    assert (predictions.missing, predictions.unmatched) == ((), ())


def test_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    truths = [Reading(str(index), f"text {index}", "", image=f"{index}.png") for index in range(100)]
    rows = [{"id": truth.id, "image": truth.image, "prediction": truth.truth} for truth in truths]
    random.Random(0).shuffle(rows)
    assert score(read_predictions(write(tmp_path, rows), truths).readings).values["exact_match"] == 1


def test_rows_without_id_are_found_by_image(tmp_path: Path) -> None:
    rows = [{"image": f"./images\\{name}.png", "prediction": name} for name in "cba"]
    predictions = read_predictions(write(tmp_path, rows), TRUTHS)
    assert [reading.prediction for reading in predictions.readings] == ["a", "b", "c"]


def test_foreign_ids_fall_back_to_the_image(tmp_path: Path) -> None:
    rows = [{"id": index, "image": f"images/{name}.png", "prediction": name} for index, name in enumerate("cab")]
    predictions = read_predictions(write(tmp_path, rows), TRUTHS)
    assert [reading.prediction for reading in predictions.readings] == ["a", "b", "c"]


def test_the_end_of_an_image_path_is_enough_where_it_is_the_only_one(tmp_path: Path) -> None:
    truths = [Reading(name, "x", "", image=f"/data/{name}/1.png") for name in ("one", "two")]
    rows = [{"image": f"{name}/1.png", "prediction": name} for name in ("two", "one")]
    assert [reading.prediction for reading in read_predictions(write(tmp_path, rows), truths).readings] == [
        "one",
        "two",
    ]
    with pytest.raises(UserError, match=r"image '1.png' belongs to 2 samples"):
        read_predictions(write(tmp_path, [{"image": "1.png", "prediction": "x"}]), truths)
    with pytest.raises(UserError, match="no row belongs to the data set"):
        read_predictions(write(tmp_path, [{"image": "ne/1.png", "prediction": "x"}]), truths)


def test_missing_rows_are_scored_as_empty_and_counted(tmp_path: Path) -> None:
    predictions = read_predictions(write(tmp_path, ROWS[:1]), TRUTHS)
    assert predictions.missing == ("b", "c")
    assert "1 with a prediction, 2 missing (scored as empty)" in str(predictions)
    scores = score(predictions.readings)
    assert scores.values["corpus_cer"] == 4 / 9
    assert scores.totals.empty_truths == 1


def test_rows_of_no_truth_are_counted_and_not_scored(tmp_path: Path) -> None:
    predictions = read_predictions(write(tmp_path, [*ROWS, {"id": "zz", "prediction": "noise"}]), TRUTHS)
    assert predictions.unmatched == ("zz",)
    assert len(predictions.readings) == 3


def test_file_may_carry_its_own_truths(tmp_path: Path) -> None:
    rows = [{"id": 7, "prediction": "x", "text": "y"}, {"image": "b.png", "prediction": "", "text": ""}]
    readings = read_predictions(write(tmp_path, rows)).readings
    assert [(reading.id, reading.truth) for reading in readings] == [("7", "y"), ("b.png", "")]


def test_byte_order_mark_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + b'{"id": "a", "prediction": "\xe2\x80\xa8x"}\r\n\r\n')
    assert read_predictions(file, TRUTHS).readings[0].prediction == "\u2028x"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "prediction": 5}], r"line 1: 'prediction' is 5; expected a string"),
        ([{"id": "a", "prediction": None}], r"'prediction' is null; .*write an empty string"),
        ([{"id": "a", "prediction": ["x"]}], r"'prediction' is \[\"x\"\]"),
        ([{"id": "a", "text": "x"}], r"line 1 has no 'prediction'; found the fields: id, text"),
        ([{"prediction": "x"}], r"line 1 has neither 'id' nor 'image'.*not matched by order"),
        ([{"id": True, "prediction": "x"}], r"'id' is true"),
        ([{"id": 1.5, "prediction": "x"}], r"'id' is 1.5"),
        ([{"id": "a", "prediction": "x", "stopped": "yes"}], r"'stopped' is \"yes\"; expected true, false or null"),
        ([{"id": "a", "prediction": "x", "num_tokens": "9"}], r"'num_tokens' is \"9\""),
        ([{"id": "a", "prediction": "\ud83d"}], r"half of a surrogate pair"),
        ([ROWS[0], ROWS[1], ROWS[0]], r"lines 1 and 3 have the same id 'a'"),
        ([{"id": 1, "prediction": ""}, {"id": "1", "prediction": ""}], r"lines 1 and 2 have the same id '1'"),
        ([{"image": "a.png", "prediction": ""}, {"image": "./a.png", "prediction": ""}], r"the same image 'a.png'"),
        ([ROWS[0], {"image": "images/a.png", "prediction": "x"}], r"'a' was already predicted on line 1"),
        ([{"id": "a", "prediction": "x", "text": "omega"}], r"'text' is not the truth of 'a'.*\"omega\""),
        ([{"id": "a", "prediction": "x", "image": "b.png"}], r"'image' is 'b.png', but 'a' in this data set is"),
        (
            [{"id": "q", "prediction": "x"}],
            r"no row belongs to the data set; found the id 'q', expected one such as 'a'",
        ),
        ([["a", "x"]], r"line 1 holds a list; expected one JSON object a line"),
        ([], r"holds no predictions"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_predictions(write(tmp_path, rows), TRUTHS)


def test_no_truth_anywhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 has no 'text'"):
        read_predictions(write(tmp_path, [{"id": "a", "prediction": "", "text": ""}, {"id": "b", "prediction": ""}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "a", "prediction": "x"\n', "line 1 is not a JSON object"),
        (b'{"id": "a", "prediction": "x", "prediction": "y"}', "the field 'prediction' occurs twice"),
        (b'{"id": "a", "prediction": "\xff"}', "is not UTF-8"),
        (b"[" * 100_000, "line 1 is not a JSON object"),
        (b"\n \n", "holds no predictions"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_predictions(file, TRUTHS)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the predictions"):
        read_predictions(tmp_path / "none.jsonl", TRUTHS)


def test_one_image_of_two_samples_needs_the_id(tmp_path: Path) -> None:
    truths = [Reading("1", "x", "", image="p.png"), Reading("2", "y", "", image="p.png")]
    with pytest.raises(UserError, match="image 'p.png' belongs to 2 samples"):
        read_predictions(write(tmp_path, [{"image": "p.png", "prediction": "x"}]), truths)


def test_data_set_with_an_id_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'a' occurs twice in the data set"):
        read_predictions(write(tmp_path, ROWS), [TRUTHS[0], TRUTHS[0]])
