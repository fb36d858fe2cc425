"""Prompts of rows that bring none of their own: the data set's, and for JSON answers one that shows their fields.

GLM-OCR's model card gives the prompt for JSON: one fixed line, and below it the answer with its values left empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..args import JSON_PROMPT
from ..readers.rows import column_of, with_column

if TYPE_CHECKING:
    from datasets import Dataset


def with_prompt(rows: Dataset, prompt: str) -> Dataset:
    """The rows of a neutral table, those without a prompt with this one."""
    import pyarrow.compute as pc

    own = column_of(rows, "prompt")
    missing = pc.fill_null(pc.equal(own, ""), True)
    return with_column(rows, "prompt", pc.if_else(missing, prompt, own))


def json_prompt(rows: Dataset) -> str | None:
    """The prompt with all fields of the rows that ask for JSON; None where no row does."""
    import pyarrow.compute as pc

    asking = pc.equal(column_of(rows, "prompt"), JSON_PROMPT)
    texts = column_of(rows, "text").filter(pc.fill_null(asking, False)).drop_null()
    if not len(texts):
        return None
    template = template_of(text.as_py() for text in texts)
    if template is None:
        return JSON_PROMPT  # all of them will be set aside
    return f"{JSON_PROMPT}\n{json.dumps(template, ensure_ascii=False, indent=4)}"


def with_json_prompt(rows: Dataset, prompt: str | None) -> Dataset:
    """The rows that ask for JSON with the whole prompt; those whose label is none are set aside."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if prompt is None:
        return rows
    asks = pc.fill_null(pc.equal(column_of(rows, "prompt"), JSON_PROMPT), False)
    texts, problems = column_of(rows, "text").to_pylist(), column_of(rows, "problem").to_pylist()
    wrong = [
        problem or ("not_json" if asked and text is not None and _parsed(text) is None else None)
        for asked, text, problem in zip(asks.to_pylist(), texts, problems, strict=True)
    ]
    rows = with_column(rows, "problem", pa.chunked_array([pa.array(wrong, pa.string())]))
    return with_column(rows, "prompt", pc.if_else(asks, prompt, column_of(rows, "prompt")))


def template_of(labels: Iterable[str]) -> Any:
    """All fields of some JSON answers in the order of their first occurrence, values empty; None where none is JSON."""
    template: Any = None
    for label in labels:
        template = _merged(template, _emptied(_parsed(label)))
    return template


def _parsed(label: str) -> dict[str, Any] | None:
    """The object that a label is; None for anything else, NaN and the like in it too."""
    try:
        value = json.loads(label, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _emptied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _emptied(inner) if isinstance(inner, (dict, list)) else "" for name, inner in value.items()}
    if isinstance(value, list):
        merged: Any = None
        for inner in value:
            merged = _merged(merged, _emptied(inner) if isinstance(inner, (dict, list)) else "")
        return [] if merged is None else [merged]
    return None


def _merged(one: Any, other: Any) -> Any:
    """Both templates in one; where they differ in kind, the one with more in it."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: _merged(one.get(name), other.get(name)) for name in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        inner = _merged(one[0] if one else None, other[0] if other else None)
        return [] if inner is None else [inner]
    return one if isinstance(one, (dict, list)) or other is None else other
