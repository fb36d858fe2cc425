"""The rows of the samples table as plain data for the page's script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..metrics import Reading, ScoringSettings, TableScores, alignment, normalise_text
from ..metrics.normalisation import fold_text
from ..metrics.samples import SampleScore
from .pictures import Album

Row = dict[str, Any]
TOO_LARGE = "far larger than the truth: TEDS counts as 0"
LEFT_OUT = "truth too large to compare: left out of TEDS"
_WHITE_SPACE = re.compile(r"\s+")


def sample_rows(systems: Sequence[Sequence[SampleScore]], settings: ScoringSettings) -> Iterator[Row]:
    """One row per sample; each system lists the same samples in the same order.

    Text positions count UTF-16 code units, as the page's script does.
    """
    for scores in zip(*systems, strict=True):
        reading = scores[0].reading
        yield _row(reading, [_scored(score, settings) for score in scores])


def add_table_notes(rows: Iterable[Row], tables: Sequence[TableScores | None]) -> None:
    """Say in each row why a reading's tables were not compared; one set of tables for each system."""
    for number, found in enumerate(tables):
        notes = dict.fromkeys(found.too_large, TOO_LARGE) | dict.fromkeys(found.not_scored, LEFT_OUT) if found else {}
        for row in rows:
            if row["id"] in notes:
                row["readings"][number]["table_note"] = notes[row["id"]]


def suspect_row(reading: Reading, score: float | None, doubted: str, settings: ScoringSettings) -> Row:
    """A row whose only system is what the model reads instead of the label."""
    row = _row(reading, [_compared(reading, settings)])
    return row | {"score": score, "note": doubted}


def add_pictures(rows: Iterable[Row], folder: Path, album: Album) -> None:
    """Give rows their pictures, in their order, as long as the album has room."""
    for row in rows:
        picture = album.picture(folder, row["image"], row.pop("region", None))
        if picture:
            row["picture"] = asdict(picture)


def within_budget(rows: Sequence[Row], budget: int) -> list[Row]:
    """The first rows that together take at most ``budget`` bytes in the page."""
    kept: list[Row] = []
    for row in rows:
        shown = {name: value for name, value in row.items() if name != "region"}
        budget -= len(embedded_json(shown).encode("utf-8"))
        if budget < 0:
            break
        kept.append(row)
    return kept


def embedded_json(value: object) -> str:
    """JSON that may stand inside a script element: no text in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _row(reading: Reading, readings: list[Row]) -> Row:
    return {
        "id": reading.id,
        "source": reading.source or "",
        "image": reading.image or "",
        "region": reading.region,
        "truth": reading.truth,
        "readings": readings,
    }


def _scored(score: SampleScore, settings: ScoringSettings) -> Row:
    behaviour: Row = {
        "cer": round(score.character_error_rate, 5),
        "exact": score.exact,
        "loops": score.looping,
        "cut": score.reading.stopped is False,
    }
    if score.table:
        behaviour |= {"teds": round(score.table.teds, 5), "structure": round(score.table.teds_structure, 5)}
    return _compared(score.reading, settings) | behaviour


def _compared(reading: Reading, settings: ScoringSettings) -> Row:
    """The reading with its difference to the truth: lengths in turn of what is equal, missed, and written instead."""
    lengths: list[int] = []
    for operation, truth, prediction in alignment(reading.truth, reading.prediction, settings):
        equal = operation == "equal"
        if equal or not lengths:
            lengths += [_utf16_length(truth) if equal else 0, 0, 0]
        if not equal:
            lengths[-2] += _utf16_length(truth)
            lengths[-1] += _utf16_length(prediction)
    row: Row = {"text": reading.prediction, "difference": lengths}
    for name, text in (("truth_compared", reading.truth), ("text_compared", reading.prediction)):
        compared = _compared_text(text, settings)
        if compared != text:
            row[name] = compared
    return row


def _compared_text(text: str, settings: ScoringSettings) -> str:
    """The normalised text with a line break wherever its white space held one; its length is that of the scored text."""
    scored = normalise_text(text, settings.text_normalisation)
    if settings.text_normalisation == "none" or "\n" not in text:
        return scored
    folded = fold_text(text, settings.text_normalisation).strip()
    broken = _WHITE_SPACE.sub(lambda found: "\n" if "\n" in found[0] else " ", folded)
    return broken if len(broken) == len(scored) else scored


def _utf16_length(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)
