"""Records, one mapping of column to value for each sample, and the row or rows that one becomes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..args import JSON_PROMPT, TASK_PROMPTS, TASKS
from ..errors import UserError
from ..inputs.labels import clean_label, label_as_found
from .columns import Layout, find_layout, kinds_of_records
from .conversations import Turn, read_question, read_turn
from .donut import unwrapped
from .image_cells import read_image
from .paths import Found, ImageFinder
from .rows import ReadOptions, Row, counted, make_row
from .tiff_pages import page_numbers, read_page

logger = logging.getLogger(__name__)

TASK_SAMPLE = 1000  # rows whose task is looked at for what may be mistyped


@dataclass(frozen=True)
class Record:
    """``values`` is None for a line that is no record, and ``detail`` says why; ``base`` is its file's folder."""

    source: str
    base: str
    values: Mapping[str, Any] | None
    detail: str | None = None


def to_rows(record: Record, layout: Layout, finder: ImageFinder) -> Iterator[Row]:
    """The row of a record, or one for each page of a TIFF that has as many texts as pages."""
    if record.values is None:
        yield make_row(record.source, problem="invalid_record", detail=record.detail)
        return
    turn = _turn(record.values, layout)
    image, found = read_image(_image_cell(record.values, layout, turn), record.base, finder)
    if turn.prompt is None and layout.task:
        turn = replace(turn, prompt=_prompt_of_task(record.values.get(layout.task)))
    yield from rows_of(record.source, turn, image, found, _group(record.values, layout))


def _prompt_of_task(value: object) -> str | None:
    """The prompt of a task by its name; None for anything else, and the row is asked like all others."""
    name = str(value).strip().casefold()
    return JSON_PROMPT if name == "json" else TASK_PROMPTS.get(name)


def say_unknown_tasks(values: Iterable[object], column: str, where: str) -> None:
    """Warn of values of a task column that name no task, where others do: they may be mistyped."""
    named = Counter(str(value).strip() for value in values if value is not None and str(value).strip())
    unknown = [name for name in named if _prompt_of_task(name) is None]
    if unknown and len(unknown) < len(named):
        first = ", ".join(f"{name!r} ({counted(named[name], 'row')})" for name in unknown[:5])
        logger.warning(
            "%s: the column %s names no task in some rows: %s; they are asked as rows without one (tasks: %s)",
            *(where, column, first, ", ".join(TASKS)),
        )


def _group(values: Mapping[str, Any], layout: Layout) -> str | None:
    value = values.get(layout.group) if layout.group else None
    return None if value is None or value == "" else f"{layout.group}={value}"


def rows_of(
    source: str, turn: Turn, image: dict[str, Any] | None, found: Found, group: str | None = None
) -> Iterator[Row]:
    """The row of an image and its text, or those of the pages of a TIFF whose answer is a list of as many texts."""
    pages = page_numbers(image) if image and found.problem is None else []
    if image is None or not pages:
        yield _row(source, turn, image, found, group)
    elif isinstance(turn.answer, list) and len(turn.answer) == len(pages):
        for number, text in zip(pages, turn.answer, strict=True):
            page, read = read_page(image, number)
            yield _row(f"{source}#page={number + 1}", replace(turn, answer=text), page, read, group or source)
    else:
        problem, detail = turn.problem or "several_pages", f"{len(pages)} pages in {image['path']}"
        yield make_row(source, image, None, turn.prompt, problem, detail)


def _row(source: str, turn: Turn, image: dict[str, Any] | None, found: Found, group: str | None) -> Row:
    """One row. Of several problems the first is kept: conversation, label, then image."""
    text, problem, detail = _label(turn)
    if problem is None:
        problem, detail = found.problem, found.detail
    return make_row(source, image, text, turn.prompt, problem, detail, group=group)


def _label(turn: Turn) -> tuple[str | None, str | None, str | None]:
    """(text as it is trained on, problem, what it is about)"""
    if turn.problem is not None:
        return None, turn.problem, None
    try:
        answer = unwrapped(turn.answer)
    except ValueError as error:
        return None, "invalid_answer", str(error)
    label = clean_label(answer)
    return label.text, label.reason, None if label.reason in (None, "empty_label") else str(answer)[:60]


def _turn(values: Mapping[str, Any], layout: Layout) -> Turn:
    if layout.is_conversation:
        messages = values.get(layout.text)
        end = values.get(layout.completion) if layout.completion else []
        if messages is None:
            return _turn_of_another_kind(values)
        joined = [*messages, *end] if isinstance(messages, list) and isinstance(end, list) else None
        return read_turn(joined, values.get("system"), values.get("history"))
    answer = values.get(layout.text)
    answer = _class_name(answer, layout) if layout.class_names else answer
    if layout.prompt is None:
        return Turn(answer=answer)
    prompt = label_as_found(values.get(layout.prompt))
    if prompt.reason is not None:
        return Turn(answer=answer, problem="invalid_text")
    history = values.get("history")
    if isinstance(history, list) and history:
        return Turn(problem="several_turns")
    question = _with_input(prompt.text or "", values) if layout.prompt.casefold() == "instruction" else prompt.text
    return replace(read_question(question or ""), answer=answer)


def _turn_of_another_kind(values: Mapping[str, Any]) -> Turn:
    """The turn of a row without the file's conversation column: ms-swift's older ``query`` and ``response``."""
    kinds = kinds_of_records([values])
    try:
        layout = find_layout(kinds, ReadOptions(), "row")
    except UserError:
        return Turn(problem="invalid_record")
    return Turn(problem="invalid_record") if layout.is_conversation else _turn(values, layout)


def _with_input(prompt: str, values: Mapping[str, Any]) -> str:
    """The prompt, and Alpaca's ``input`` below its ``instruction``."""
    given = values.get("input")
    return f"{prompt}\n{given}" if prompt and isinstance(given, str) and given.strip() else prompt


def _image_cell(values: Mapping[str, Any], layout: Layout, turn: Turn) -> Any:
    cell = values.get(layout.image) if layout.image else None
    return turn.image if cell is None or (isinstance(cell, list) and not cell) else cell


def _class_name(value: object, layout: Layout) -> object:
    if isinstance(value, int):
        return layout.class_names[value] if value >= 0 else None
    return value
