"""Several data sets at once: names with shares, mappings of a configuration file, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data_sets import data_sets_of, names_of
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.parse import parse_train


def test_names_and_shares() -> None:
    found = data_sets_of(DataArguments(["lines:0.7", "owner/tables:.3"], text_column="gt"))
    assert [(one.name, one.share, one.args.text_column) for one in found] == [
        ("lines", 0.7, "gt"),
        ("owner/tables", 0.3, "gt"),
    ]
    assert names_of(["lines:0.7", {"dataset_name": "b", "share": 1}]) == ["lines", "b"]


def test_one_data_set_is_a_name() -> None:
    assert DataArguments(["lines"]).dataset_name == "lines"
    (only,) = data_sets_of(DataArguments("lines"))
    assert (only.name, only.share, only.is_replay) == ("lines", None, False)


def test_a_path_with_a_colon_and_a_number_is_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "scans:2"
    folder.mkdir()
    assert [(one.name, one.share) for one in data_sets_of(DataArguments(str(folder)))] == [(str(folder), None)]
    assert [(one.name, one.share) for one in data_sets_of(DataArguments(r"C:\scans"))] == [(r"C:\scans", None)]


def test_a_configuration_file_gives_each_its_own(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "prompt: 'Read:'\nmax_samples: 9\ndataset_name:\n- {dataset_name: a, share: 1, task: table, level: page}\n"
        "- {dataset_name: ä, share: 3, text_column: gt, max_samples: 2}\n",
        encoding="utf-8",
    )
    _, data_args, _, _ = parse_train(["--config", str(config)], "train")
    first, second = data_sets_of(data_args)
    assert (first.name, first.share, first.args.default_prompt, first.args.level) == (
        "a",
        1,
        "Table Recognition:",
        "page",
    )
    assert (second.name, second.args.default_prompt, second.args.text_column) == ("ä", "Read:", "gt")
    assert (first.args.max_samples, second.args.max_samples) == (9, 2)
    assert data_args.data_sets == "a, ä"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("org/name:0.3", ("org/name", 0.3)),
        ("lines:1e3", ("lines", 1000.0)),
        ("hf://datasets/owner/name", ("hf://datasets/owner/name", None)),
        ("https://host/a.parquet", ("https://host/a.parquet", None)),
        (r"C:\scans", (r"C:\scans", None)),
        (r"C:\scans:0.5", (r"C:\scans", 0.5)),
    ],
)
def test_colons_that_are_no_share(name: str, found: tuple[str, float | None]) -> None:
    other = "b" if found[1] is None else "b:1"
    assert [(one.name, one.share) for one in data_sets_of(DataArguments([name, other]))][0] == found


def test_numbers_may_be_written_as_words_and_null_is_nothing() -> None:
    given = {"dataset_name": "a", "max_samples": "3", "text_column": 5, "prompt": None, "task": "table"}
    (only,) = data_sets_of(DataArguments([given], level="line"))
    assert (only.args.max_samples, only.args.text_column, only.args.task, only.args.level) == (3, "5", "table", "line")


WRONG: list[tuple[str, object, str]] = [
    ("max_samples", "x", "a: max_samples is 'x'; it must be a whole number"),
    ("max_samples", 1.5, "a: max_samples is 1.5; it must be a whole number"),
    ("max_samples", True, "a: max_samples is True; it must be a whole number"),
    ("max_samples", 0, "a: max_samples is 0; it must be at least 1"),
    ("level", "word", "a: level 'word' is none of line, region, page"),
    ("text_column", ["b"], r"a: text_column is \['b'\]; it must be text"),
    ("train_split", False, "a: train_split is False; it must be text"),
]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a:0.7", "b"], "b has no share"),
        (["a:0", "b:1"], "share of a:0 is '0'; it must be a number above 0"),
        (["a:0,7", "b:1"], "share of a:0,7 is '0,7'; it must be a number above 0, such as 0.7"),
        (["a:-1", "b:1"], "share of a:-1 is '-1'"),
        (["a:", "b:1"], "share of a: is ''"),
        (["owner/name:nan", "b:1"], "share of owner/name:nan is 'nan'"),
        ("a:0.5", "a share of 0.5 for a alone has no effect"),
        ([{"dataset_name": "a", "share": True}], "share of a is True"),
        ([{"dataset_name": ""}], "an entry without a dataset_name"),
        ([{"dataset_name": "a", 5: "x"}], "no argument 5; expected some of"),
        ([{"dataset_name": "a", "prompt": "Read:", "task": "text"}], "a: prompt and task exclude each other"),
        *(([{"dataset_name": "a", name: value}], message) for name, value, message in WRONG),
        ([{"dataset_name": "a", "promt": "x"}], "no argument 'promt'; did you mean prompt"),
        ([{"share": 0.5}], "an entry without a dataset_name"),
        ([{"dataset_name": "a", "task": "poem"}], "task 'poem' is none of text, table, formula, json"),
        ([{"dataset_name": "a", "share": "half"}], "share of a is 'half'"),
        (['{"dataset_name": '], "neither a name nor JSON"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        data_sets_of(DataArguments(given))
