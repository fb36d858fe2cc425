"""Prompts of rows without one, and the template of JSON answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from drawing import WORDS, write_lines

from glm_ocr_finetune.args import JSON_PROMPT, DataArguments
from glm_ocr_finetune.data.prompts import json_prompt, template_of, with_json_prompt, with_prompt
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.readers.rows import make_row, row_features


def table(*rows: tuple[str | None, str | None]) -> Dataset:
    """Rows of (text, prompt)."""
    made = [make_row(f"x:{i}", None, text, prompt) for i, (text, prompt) in enumerate(rows)]
    return Dataset.from_list([dict(row) for row in made], features=row_features())


def test_only_rows_without_a_prompt_get_it_whatever_their_order() -> None:
    rows = table(("a", None), ("b", ""), ("c", "Own:")).select([2, 1, 0])
    filled = with_prompt(rows, "Read:")
    assert (filled["text"], filled["prompt"]) == (["c", "b", "a"], ["Own:", "Read:", "Read:"])
    assert filled.column_names == rows.column_names


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (['{"b": "1", "a": 2}', '{"c": null, "b": "3"}'], {"b": "", "a": "", "c": ""}),
        (['{"a": {"x": 1}}', '{"a": {"y": []}}'], {"a": {"x": "", "y": []}}),
        (['{"a": [{"n": 1}, {"m": 2}]}', '{"a": [3]}'], {"a": [{"n": "", "m": ""}]}),
        (['{"a": "1"}', '{"a": {"x": 1}}'], {"a": {"x": ""}}),
        (["[1, 2]", "none"], None),
        (['{"a": NaN}', '{"b": -Infinity}', '{"c": 1e5}'], {"c": ""}),
        (["12", "text"], None),
    ],
)
def test_templates(labels: list[str], expected: object) -> None:
    found = template_of(labels)
    assert found == expected
    if isinstance(expected, dict):
        assert list(found) == list(expected)


def test_the_prompt_shows_all_fields_and_labels_that_are_no_json_are_set_aside() -> None:
    rows = table(
        ('{"name": "Ö", "price": "1.50"}', JSON_PROMPT), ("plain", JSON_PROMPT), ("plain", "Read:"), (None, JSON_PROMPT)
    )
    prompt = json_prompt(rows)
    assert prompt is not None
    first, template = prompt.split("\n", 1)
    assert (first, json.loads(template)) == (JSON_PROMPT, {"name": "", "price": ""})
    found = with_json_prompt(rows, prompt)
    assert found["prompt"] == [prompt, prompt, "Read:", prompt]
    assert found["problem"] == [None, "not_json", None, None]


def test_no_json_is_asked_for_or_none_is_there() -> None:
    assert json_prompt(table(("a", "Read:"))) is None
    rows = table(("plain", JSON_PROMPT), ("[1]", JSON_PROMPT), ('{"a": NaN}', JSON_PROMPT), ("a", "Read:"))
    assert with_json_prompt(rows, json_prompt(rows))["problem"] == ["not_json"] * 3 + [None]


def test_a_set_of_which_no_label_is_json_is_an_error(tmp_path: Path, processor: Any) -> None:
    write_lines(tmp_path / "json", "train", WORDS[:4], [f'{{"word": "{word}"}}' for word in WORDS[:4]])
    write_lines(tmp_path / "plain", "train", WORDS[:4])
    data_args = DataArguments([str(tmp_path / "json"), str(tmp_path / "plain")], task="json")
    with pytest.raises(UserError, match="no sample of .*plain.* can be used: 4 x not_json; .* no JSON object"):
        load_splits(data_args, PromptRenderer(processor), 2048, seed=0)
