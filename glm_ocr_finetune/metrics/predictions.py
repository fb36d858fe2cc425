"""Predictions of any OCR system, read from plain JSONL and paired with the truths they belong to."""

from __future__ import annotations

import dataclasses
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from .normalisation import normalise_text
from .reading import Reading

Key = tuple[Literal["id", "image", "image ending"], str]
_TEXT_FIELDS = ("prediction", "text", "image", "prompt", "source", "document")


@dataclass(frozen=True)
class Predictions:
    """Readings paired with predictions, and what did not pair.

    Attributes:
        readings: one per truth, in the order of the truths.
        missing: ids of truths without a prediction; they are scored as read as empty, so that leaving out the hard
            ones does not help.
        unmatched: names (id or image) of predictions that belong to no truth; they are not scored.
    """

    readings: tuple[Reading, ...]
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.readings)} truths: {len(self.readings) - len(self.missing)} with a prediction, "
            f"{len(self.missing)} missing (scored as empty); {len(self.unmatched)} predictions belong to no truth"
        )


@dataclass(frozen=True)
class _Row:
    """One line of the file, checked."""

    line: int
    fields: dict[str, Any]

    @property
    def keys(self) -> list[Key]:
        """The names under which the row is found, the surer one first."""
        keys: list[Key] = []
        if self.fields.get("id") is not None:
            keys.append(("id", self.fields["id"]))
        if self.fields.get("image") is not None:
            image = _plain_path(self.fields["image"])
            keys += [("image", image), ("image ending", image)]
        return keys


def read_predictions(path: str | Path, truths: Iterable[Reading] | None = None) -> Predictions:
    """Read a JSONL file of predictions and pair it with the truths.

    One JSON object a line: ``prediction`` (text), ``id`` or ``image`` or both, and where known ``text`` (the truth),
    ``stopped`` (bool), ``num_tokens``, ``prompt``, ``source``, ``document``, ``region``. Rows are matched by ``id``, and by
    ``image`` where that is not given or not in the data set; never by their order. An ``image`` may be the end of the
    data set's path, from a folder name on (``images/1.png``), where only one sample's path ends so.

    Args:
        truths: the samples to be judged on; their ``prediction``, ``stopped`` and ``num_tokens`` are replaced. Without
            them every row must carry its own ``text``.

    Raises:
        UserError: a line is not what is described here, a sample occurs twice, an ``image`` has another file name or a
            ``text`` is another than those of its sample (white space aside), or no row belongs to any truth.
    """
    rows = _read_rows(Path(path))
    _check_unique(path, rows)
    if truths is None:
        return Predictions(tuple(_own_reading(path, row) for row in rows), (), ())
    return _pair(path, rows, list(truths))


# Reading lines


def _read_rows(path: Path) -> list[_Row]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"cannot read the predictions: {error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    rows = [_read_row(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(f"{path} holds no predictions; expected one JSON object a line")
    return rows


def _read_row(path: Path, number: int, line: str) -> _Row:
    where = f"{path} line {number}"
    try:
        fields = json.loads(line, object_pairs_hook=_unique_fields)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not a JSON object: {error}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{where} holds a {type(fields).__name__}; expected one JSON object a line")
    return _Row(number, _checked_fields(where, fields))


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"the field {Counter(names).most_common(1)[0][0]!r} occurs twice")
    return dict(pairs)


def _checked_fields(where: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with ``id`` as text; raise on a missing field or a wrong type."""
    if "prediction" not in fields:
        raise UserError(f"{where} has no 'prediction'; found the fields: {', '.join(fields) or 'none'}")
    for name in _TEXT_FIELDS:
        _check_text(where, name, fields.get(name), optional=name != "prediction")
    _check_behaviour(where, fields)
    fields = {**fields, "id": _checked_id(where, fields.get("id"))}
    if fields["id"] is None and fields.get("image") is None:
        raise UserError(f"{where} has neither 'id' nor 'image'; one is needed, since rows are not matched by order")
    return fields


def _check_text(where: str, name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str):
        hint = "; write an empty string for an empty reading" if value is None else ""
        raise UserError(f"{where}: {name!r} is {_shown(value)}; expected a string{hint}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise UserError(f"{where}: {name!r} holds half of a surrogate pair, which is no character; write U+FFFD")


def _check_behaviour(where: str, fields: dict[str, Any]) -> None:
    stopped, num_tokens = fields.get("stopped"), fields.get("num_tokens")
    if not (stopped is None or isinstance(stopped, bool)):
        raise UserError(f"{where}: 'stopped' is {_shown(stopped)}; expected true, false or null")
    if not (num_tokens is None or (isinstance(num_tokens, int) and not isinstance(num_tokens, bool))):
        raise UserError(f"{where}: 'num_tokens' is {_shown(num_tokens)}; expected a whole number or null")
    if not _is_region(fields.get("region")):
        raise UserError(f"{where}: 'region' is {_shown(fields['region'])}; expected a list of [x, y] or null")


def _is_region(value: Any) -> bool:
    if not isinstance(value, list):
        return value is None
    numbers = [number for point in value if isinstance(point, list) and len(point) == 2 for number in point]
    return len(numbers) == 2 * len(value) and all(type(number) in (int, float) for number in numbers)


def _checked_id(where: str, value: Any) -> str | None:
    """Return the id as text; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    _check_text(where, "id", value, optional=True)
    return None if value is None else str(value)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain_path(image: str) -> str:
    return posixpath.normpath(image.replace("\\", "/"))


def _file_name(image: str) -> str:
    return posixpath.basename(_plain_path(image))


def _check_unique(path: str | Path, rows: Sequence[_Row]) -> None:
    """Refuse two rows for one sample: by id, and by image among rows that have no id."""
    seen: dict[Key, int] = {}
    for row in rows:
        first = seen.setdefault(row.keys[0], row.line)
        if first != row.line:
            kind, name = row.keys[0]
            raise UserError(
                f"{path}: lines {first} and {row.line} have the same {kind} {name!r}; expected one row each"
            )


# Pairing


def _own_reading(path: str | Path, row: _Row) -> Reading:
    fields = row.fields
    if fields.get("text") is None:
        raise UserError(f"{path} line {row.line} has no 'text'; without a data set each row must carry its truth")
    return Reading(
        id=row.keys[0][1],
        truth=fields["text"],
        prediction=fields["prediction"],
        stopped=fields.get("stopped"),
        num_tokens=fields.get("num_tokens"),
        prompt=fields.get("prompt"),
        source=fields.get("source"),
        image=fields.get("image"),
        document=fields.get("document"),
        region=fields.get("region"),
    )


def _pair(path: str | Path, rows: Sequence[_Row], truths: Sequence[Reading]) -> Predictions:
    depths = {name.count("/") + 1 for row in rows for kind, name in row.keys if kind == "image ending"}
    by_key = _truth_index(truths, depths)
    paired: dict[str, _Row] = {}
    unmatched = []
    for row in rows:
        truth = _find_truth(path, row, by_key)
        if truth is None:
            unmatched.append(row.keys[0][1])
            continue
        _check_pair(path, row, truth, paired.get(truth.id))
        paired[truth.id] = row
    if not paired:
        raise UserError(_nothing_paired(path, rows, truths))
    readings = tuple(_filled(truth, paired.get(truth.id)) for truth in truths)
    return Predictions(readings, tuple(truth.id for truth in truths if truth.id not in paired), tuple(unmatched))


def _truth_index(truths: Sequence[Reading], depths: Iterable[int]) -> dict[Key, list[Reading]]:
    """Index truths by id, by image, and by the last parts of its path, as many as ``depths`` says.

    One image may belong to several samples (other prompts, other regions).
    """
    index: dict[Key, list[Reading]] = {}
    for truth in truths:
        index.setdefault(("id", truth.id), []).append(truth)
        if truth.image is not None:
            image = _plain_path(truth.image)
            index.setdefault(("image", image), []).append(truth)
            for ending in {"/".join(image.split("/")[-depth:]) for depth in depths}:
                index.setdefault(("image ending", ending), []).append(truth)
    doubled = next((name for (kind, name), found in index.items() if kind == "id" and len(found) > 1), None)
    if doubled is not None:
        raise UserError(f"the id {doubled!r} occurs twice in the data set; expected each id once")
    return index


def _find_truth(path: str | Path, row: _Row, by_key: dict[Key, list[Reading]]) -> Reading | None:
    key = next((key for key in row.keys if key in by_key), None)
    if key is None:
        return None
    found = by_key[key]
    if len(found) > 1:
        raise UserError(
            f"{path} line {row.line}: the image {key[1]!r} belongs to {len(found)} samples "
            "of the data set; give the 'id'"
        )
    return found[0]


def _check_pair(path: str | Path, row: _Row, truth: Reading, earlier: _Row | None) -> None:
    """Refuse a second row for one sample (one by id, one by image), and a row made for another image or truth."""
    where = f"{path} line {row.line}"
    if earlier is not None:
        raise UserError(f"{where}: the sample {truth.id!r} was already predicted on line {earlier.line}")
    image, text = row.fields.get("image"), row.fields.get("text")
    if image is not None and truth.image is not None and _file_name(image) != _file_name(truth.image):
        raise UserError(
            f"{where}: 'image' is {image!r}, but {truth.id!r} in this data set is {truth.image!r}; "
            "if the ids are not those of the data set, leave them out"
        )
    if text is not None and normalise_text(text, "nfc") != normalise_text(truth.truth, "nfc"):
        raise UserError(
            f"{where}: 'text' is not the truth of {truth.id!r} in this data set "
            f"({_shown(text)} instead of {_shown(truth.truth)}); score against the data set that was read, "
            "or take 'text' out of the file"
        )


def _nothing_paired(path: str | Path, rows: Sequence[_Row], truths: Sequence[Reading]) -> str:
    kind, name = rows[0].keys[0]
    examples = [truth.id if kind == "id" else truth.image for truth in truths[:1]]
    expected = f"such as {examples[0]!r}" if examples else "but the data set is empty"
    return f"{path}: no row belongs to the data set; found the {kind} {name!r}, expected one {expected}"


def _filled(truth: Reading, row: _Row | None) -> Reading:
    fields: dict[str, Any] = row.fields if row else {"prediction": ""}
    return dataclasses.replace(
        truth,
        prediction=fields["prediction"],
        stopped=fields.get("stopped"),
        num_tokens=fields.get("num_tokens"),
    )
