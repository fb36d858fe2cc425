"""Which column holds the image, which the transcription: named by the user, or known by name and kind."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import UserError
from .rows import ReadOptions

_log = logging.getLogger("glm_ocr_finetune")

Kind = Literal["text", "image", "list", "class", "other"]
"""What cells hold: text or numbers, encoded images, a list, a class id, or something else."""

IMAGE_COLUMNS = (
    "image",
    "images",
    "img",
    "picture",
    "file_name",
    "filename",
    "image_path",
    "img_path",
    "image_file",
    "path",
    "file",
    "scan",
    "jpg",
    "png",
)
"""Names of image columns, the first present wins, whatever its case. ``images`` holds lists of one."""

TEXT_COLUMNS = (
    "label",
    "text",
    "ground_truth",
    "transcription",
    "transcript",
    "gt",
    "caption",
    "sentence",
    "answer",
    "target",
    "ocr",
    "ocr_text",
    "latex",
    "formula",
    "html",
    "markdown",
    "txt",
)
"""Names of transcription columns, the first present wins, whatever its case. A class id never counts."""

CONVERSATION_COLUMNS = ("messages", "conversations")


@dataclass(frozen=True)
class Layout:
    """Names of the columns to read; ``text`` is that of the conversation when ``is_conversation``."""

    image: str
    text: str
    prompt: str | None = None
    is_conversation: bool = False
    class_names: tuple[str, ...] = ()


def find_layout(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> Layout:
    """The layout of a table with these columns.

    Columns that the user named win. A ``messages`` or ``conversations`` column is ShareGPT, unless a
    text column was named. Raises ``UserError`` for a column that does not exist or cannot be found.
    """
    conversation = _first_known(kinds, CONVERSATION_COLUMNS, ("list", "other"))
    if conversation is not None and options.text_column is None:
        return Layout(_image_column(kinds, options, where), conversation, is_conversation=True)
    prompt = _first_known(kinds, ("prompt",), ("text",))
    text = _text_column(kinds, options, where)
    return Layout(_image_column(kinds, options, where), text, None if prompt == text else prompt)


def kinds_of_records(records: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """Kinds of the columns that occur in some records, by their first value that is not None."""
    kinds: dict[str, Kind] = {}
    undecided: dict[str, Kind] = {}
    for record in records:
        for name, value in record.items():
            undecided.setdefault(name, "text")
            if value is not None:
                kinds.setdefault(name, _kind_of_value(value))
    return undecided | kinds


def kinds_of_features(features: Mapping[str, Any]) -> dict[str, Kind]:
    """Kinds of the columns of a ``datasets`` table."""
    return {name: _kind_of_feature(feature) for name, feature in features.items()}


def _image_column(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> str:
    if options.image_column is not None:
        return _existing(kinds, options.image_column, "--image_column", where)
    known = _first_known(kinds, IMAGE_COLUMNS, ("text", "image", "list"))
    only = [name for name, kind in kinds.items() if kind == "image"]
    if known is None and len(only) != 1:
        raise UserError(
            f"{where} has no image column that is known; its columns: {_listed(kinds)}. Name it with --image_column."
        )
    return known if known is not None else only[0]


def _text_column(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> str:
    if options.text_column is not None:
        return _existing(kinds, options.text_column, "--text_column", where)
    known = _all_known(kinds, TEXT_COLUMNS, ("text",))
    if len(known) > 1:
        _log.warning(
            "%s: reading the transcription from %r, not %s (--text_column)", where, known[0], _listed(known[1:])
        )
    if known:
        return known[0]
    classes = _first_known(kinds, TEXT_COLUMNS, ("class",))
    if classes is not None:
        raise UserError(
            f"{where} has class ids in {classes!r}, not transcriptions; its columns: {_listed(kinds)}. "
            f"Name another with --text_column, or this one to read out the class names."
        )
    raise UserError(
        f"{where} has no text column that is known; its columns: {_listed(kinds)}. Name it with --text_column."
    )


def _existing(kinds: Mapping[str, Kind], name: str, flag: str, where: str) -> str:
    if name in kinds:
        return name
    close = get_close_matches(name, list(kinds), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{where} has no column {name!r} ({flag}); its columns: {_listed(kinds)}.{hint}")


def _first_known(kinds: Mapping[str, Kind], names: Iterable[str], wanted: tuple[Kind, ...]) -> str | None:
    return next(iter(_all_known(kinds, names, wanted)), None)


def _all_known(kinds: Mapping[str, Kind], names: Iterable[str], wanted: tuple[Kind, ...]) -> list[str]:
    by_name = {name.casefold(): name for name, kind in kinds.items() if kind in wanted}
    return [by_name[name] for name in names if name in by_name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _kind_of_value(value: Any) -> Kind:
    if isinstance(value, list):
        return "list"
    if isinstance(value, dict):
        return "image" if {"bytes", "path"} & value.keys() else "other"
    return "other" if isinstance(value, bool) else "text"


def _kind_of_feature(feature: Any) -> Kind:
    from datasets import ClassLabel, Image, Value

    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, ClassLabel):
        return "class"
    if isinstance(feature, Value):
        return _kind_of_type(feature.dtype)
    if isinstance(feature, list) or hasattr(feature, "feature"):
        return "list"
    return "image" if isinstance(feature, dict) and "bytes" in feature else "other"


def _kind_of_type(dtype: str) -> Kind:
    if "binary" in dtype:
        return "image"
    return "text" if dtype.startswith(("string", "large_string", "int", "uint", "float", "decimal")) else "other"
