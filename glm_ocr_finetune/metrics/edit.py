"""Minimal edits between two sequences, from rapidfuzz: insertions, deletions and substitutions each cost 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from rapidfuzz.distance import Levenshtein

from .normalisation import ScoringSettings, normalise_text, split_units

Operation = Literal["equal", "replace", "delete", "insert"]


class AlignedPart(NamedTuple):
    """One stretch of an alignment: what is done, the text of the truth, the text of the prediction."""

    operation: Operation
    truth: str
    prediction: str


class UnitEdit(NamedTuple):
    """One edit of one unit: ``truth`` is empty for an insertion, ``prediction`` for a deletion."""

    truth: str
    prediction: str


@dataclass(frozen=True)
class EditCounts:
    """How many edits of each kind turn the truth into the prediction."""

    substitutions: int
    deletions: int
    insertions: int

    @property
    def total(self) -> int:
        return self.substitutions + self.deletions + self.insertions


def unit_edits(truth: Sequence[str], prediction: Sequence[str]) -> list[UnitEdit]:
    """List the edits of one minimal alignment, from left to right."""
    return [
        UnitEdit(
            truth[edit.src_pos] if edit.tag != "insert" else "",
            prediction[edit.dest_pos] if edit.tag != "delete" else "",
        )
        for edit in Levenshtein.editops(truth, prediction)
    ]


def count_edits(edits: Sequence[UnitEdit]) -> EditCounts:
    """Sort edits into substitutions, deletions and insertions."""
    insertions = sum(not edit.truth for edit in edits)
    deletions = sum(not edit.prediction for edit in edits)
    return EditCounts(len(edits) - insertions - deletions, deletions, insertions)


def edit_distance(truth: Sequence[str], prediction: Sequence[str]) -> int:
    """Return the Levenshtein distance (insertions, deletions and substitutions cost 1)."""
    return Levenshtein.distance(truth, prediction)


def alignment(truth: str, prediction: str, settings: ScoringSettings | None = None) -> list[AlignedPart]:
    """Align the two normalised texts for a coloured difference; joined parts give back each normalised text.

    >>> [tuple(part) for part in alignment("kitten", "sitting")]
    [('replace', 'k', 's'), ('equal', 'itt', 'itt'), ('replace', 'e', 'i'), ('equal', 'n', 'n'), ('insert', '', 'g')]
    """
    settings = settings or ScoringSettings()
    left = split_units(normalise_text(truth, settings.text_normalisation), settings.cer_unit)
    right = split_units(normalise_text(prediction, settings.text_normalisation), settings.cer_unit)
    return [
        AlignedPart(
            cast("Operation", code.tag),
            "".join(left[code.src_start : code.src_end]),
            "".join(right[code.dest_start : code.dest_end]),
        )
        for code in Levenshtein.opcodes(left, right)
    ]
