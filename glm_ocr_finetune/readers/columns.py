"""Which column holds the image, which the transcription: named by the user, or known by name and kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import UserError
from .donut import is_wrapped
from .rows import ReadOptions

logger = logging.getLogger(__name__)

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
    "im",
    "jpg",
    "jpeg",
    "png",
    "bild",
    "datei",
    "dateiname",
    "fichier",
    "imagen",
    "archivo",
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
    "words",
    "response",
    "completion",
    "output",
    "transkription",
    "texte",
    "texto",
)
"""Names of transcription columns, the first present wins, whatever its case. A class id never counts."""

PROMPT_COLUMNS = ("prompt", "query", "question", "instruction")
"""Names of columns with a row's own prompt (TRL, ms-swift, visual question answering, Alpaca)."""

TASK_COLUMN = "task"
"""Tells the prompt of rows that have none, where its values are the names of tasks (``args.TASKS``)."""

GROUP_COLUMNS = ("page", "page_id", "document", "document_id", "doc", "doc_id", "form", "writer", "writer_id", "book")
"""Names of columns whose equal values belong together, the finest first."""

CONVERSATION_COLUMNS = ("messages", "conversations", "conversation")

_KNOWN = frozenset((*IMAGE_COLUMNS, *TEXT_COLUMNS, *PROMPT_COLUMNS, *CONVERSATION_COLUMNS))

_WRONG: dict[Kind, str] = {"image": "images", "other": "objects or truth values"}


@dataclass(frozen=True)
class Layout:
    """Names of the columns to read.

    ``text`` is that of the conversation when ``is_conversation``, and ``completion`` that of its end where it
    is cut in two. A conversation may hold its image itself; ``image`` is None then.
    """

    image: str | None
    text: str
    prompt: str | None = None
    is_conversation: bool = False
    completion: str | None = None
    class_names: tuple[str, ...] = ()
    task: str | None = None
    group: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that are read."""
        beside = ("system", "history") if self.is_conversation else ("history", "input")
        named = (self.image, self.text, self.prompt, self.completion, self.task, self.group, *beside)
        return tuple(name for name in named if name)


def is_known_column(name: str) -> bool:
    """Whether a column of this name, whatever its case, would be read without being named."""
    return name.casefold() in _KNOWN


def find_layout(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> Layout:
    """The layout of a table with these columns.

    Columns that the user named win. A ``messages`` or ``conversations`` column is a conversation, and so are
    lists in ``prompt`` and ``completion``, unless a text column was named. Raises ``UserError`` for a column
    that does not exist or cannot be found.
    """
    found = _conversation(kinds) if options.text_column is None else None
    if found is not None:
        found = replace(found, image=_known_image_column(kinds, options, where))
    else:
        text = _text_column(kinds, options, where)
        prompt = next((name for name in _all_known(kinds, PROMPT_COLUMNS, ("text",)) if name != text), None)
        found = Layout(_image_column(kinds, options, where), text, prompt)
    taken = (found.image, found.text, found.prompt)
    return replace(
        found,
        task=next((name for name in _all_known(kinds, (TASK_COLUMN,), ("text",)) if name not in taken), None),
        group=_group_column(kinds, options, taken, where),
    )


def _group_column(
    kinds: Mapping[str, Kind], options: ReadOptions, taken: tuple[str | None, ...], where: str
) -> str | None:
    if options.group_column is not None:
        return _existing(kinds, options.group_column, "--group_column", where)
    return next((name for name in _all_known(kinds, GROUP_COLUMNS, ("text",)) if name not in taken), None)


def _conversation(kinds: Mapping[str, Kind]) -> Layout | None:
    whole = _first_known(kinds, CONVERSATION_COLUMNS, ("list", "other"))
    if whole is not None:
        return Layout(None, whole, is_conversation=True)
    start = _first_known(kinds, ("prompt",), ("list",))
    end = _first_known(kinds, ("completion",), ("list",))
    return Layout(None, start, is_conversation=True, completion=end) if start and end else None


def kinds_of_records(records: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """Kinds of the columns that occur in some records: what most of their values are, text where there is none."""
    counts: dict[str, Counter[Kind]] = {}
    for record in records:
        for name, value in record.items():
            found = counts.setdefault(name, Counter())
            if value is not None:
                found[_kind_of_value(value)] += 1
    return {name: _most_common(found) for name, found in counts.items()}


def _most_common(found: Counter[Kind]) -> Kind:
    return max(found, key=lambda kind: (found[kind], kind == "text"), default="text")


def kinds_of_features(features: Mapping[str, Any]) -> dict[str, Kind]:
    """Kinds of the columns of a ``datasets`` table."""
    return {name: _kind_of_feature(feature) for name, feature in features.items()}


def _image_column(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> str:
    known = _known_image_column(kinds, options, where)
    if known is None:
        raise UserError(
            f"{where} has no image column that is known; its columns: {_listed(kinds)}. Name it with --image_column."
        )
    return known


def _known_image_column(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> str | None:
    if options.image_column is not None:
        return _existing(kinds, options.image_column, "--image_column", where)
    only = [name for name, kind in kinds.items() if kind == "image"]
    known = _first_known(kinds, IMAGE_COLUMNS, ("text", "image", "list"))
    return known if known is not None or len(only) != 1 else only[0]


def _text_column(kinds: Mapping[str, Kind], options: ReadOptions, where: str) -> str:
    if options.text_column is not None:
        return _existing(kinds, options.text_column, "--text_column", where)
    known = _all_known(kinds, TEXT_COLUMNS, ("text",))
    if len(known) > 1:
        logger.warning(
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
    lists = _first_known(kinds, TEXT_COLUMNS, ("list",))
    if lists is not None:
        return lists  # texts of the pages of one image; elsewhere each row says that a list is no label
    wrong = _all_known(kinds, TEXT_COLUMNS, ("other", "image"))
    if wrong:
        raise UserError(
            f"{where}: the column {wrong[0]!r} holds {_WRONG[kinds[wrong[0]]]}, not transcriptions; its columns: "
            f"{_listed(kinds)}. Name another with --text_column."
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
        return "image" if {"bytes", "path"} & value.keys() else "text" if is_wrapped(value) else "other"
    return "other" if isinstance(value, bool) else "text"


def _kind_of_feature(feature: Any) -> Kind:
    from datasets import ClassLabel, Image, Value

    if isinstance(feature, Image):
        return "image"
    if isinstance(feature, ClassLabel):
        return "class"
    if isinstance(feature, Value):
        return _kind_of_type(feature.dtype)
    if isinstance(feature, list) or hasattr(feature, "feature") or hasattr(feature, "shape"):
        return "list"  # arrays of pixels have a shape
    if isinstance(feature, dict):
        return "image" if "bytes" in feature else "text" if is_wrapped(feature) else "other"
    return "other"


def _kind_of_type(dtype: str) -> Kind:
    if "binary" in dtype:
        return "image"
    return "text" if dtype.startswith(("string", "large_string", "int", "uint", "float", "decimal")) else "other"
