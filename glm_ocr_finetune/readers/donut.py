"""Donut's and CORD's labels: JSON whose ``gt_parse`` is the answer, and whose boxes and notes beside it are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .json_files import parse_json, write_json

_KEYS = ("gt_parse", "gt_parses")


def is_wrapped(value: Mapping[str, Any]) -> bool:
    """Whether an object is Donut's wrapper around an answer."""
    return any(key in value for key in _KEYS)


def unwrapped(label: object) -> object:
    """What is to be read of a label: ``label`` itself unless it is Donut's wrapper, as JSON text or as an object.

    A ``gt_parse`` of one ``text_sequence`` is that text. Any other becomes a JSON answer on one line, in
    the order of its keys. Of several answers (``gt_parses``, questions about one image) the list is
    handed back, which is no label. Raises ``ValueError`` for a wrapper that is not JSON.
    """
    wrapper = _wrapper(label)
    if wrapper is None:
        return label
    answers = wrapper.get("gt_parses") or [wrapper.get("gt_parse")]
    if not isinstance(answers, list) or len(answers) != 1:
        return answers
    answer = answers[0]
    if isinstance(answer, Mapping) and list(answer) == ["text_sequence"]:
        return answer["text_sequence"]
    return write_json(answer) if isinstance(answer, Mapping | list) else answer


def _wrapper(label: object) -> Mapping[str, Any] | None:
    if isinstance(label, str) and '"gt_parse' in label and label.lstrip().startswith("{"):
        label = parse_json(label)
    return label if isinstance(label, Mapping) and is_wrapped(label) else None
