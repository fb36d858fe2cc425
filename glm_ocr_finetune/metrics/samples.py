"""The counts of one sample, from which every figure is a ratio of sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .definitions import METRICS
from .edit import EditCounts, UnitEdit, count_edits, edit_distance, unit_edits
from .formulas import FormulaScore, score_formula
from .normalisation import ScoringSettings, normalise_text, split_units, split_words
from .reading import Reading
from .repetition import ends_in_loop
from .tables import TableScore
from .tasks import is_formula

COLUMNS: tuple[str, ...] = tuple(
    dict.fromkeys(column for metric in METRICS.values() for column in (metric.numerator, metric.denominator))
)


@dataclass(frozen=True)
class SampleScore:
    """What was counted on one reading, after text normalisation.

    Attributes:
        characters, prediction_characters: lengths in the unit of the settings.
        counts: edits of characters by kind.
        words, word_counts: the same for words.
        code_point_edits, longer_length: distance and length of the longer text, both in code points.
        exact: texts equal after normalisation.
        looping: the raw prediction ends in a loop (see :func:`repetition.ends_in_loop`).
        formula: the score as a formula, where that was asked.
        table: the score of the tables, where such were asked and compared.
    """

    reading: Reading
    characters: int
    prediction_characters: int
    counts: EditCounts
    words: int
    word_counts: EditCounts
    code_point_edits: int
    longer_length: int
    exact: bool
    looping: bool
    formula: FormulaScore | None = None
    table: TableScore | None = None

    one = 1

    @property
    def edits(self) -> int:
        return self.counts.total

    @property
    def word_edits(self) -> int:
        return self.word_counts.total

    @property
    def character_error_rate(self) -> float:
        """Edits / characters of the truth, not clipped; 0 or 1 for an empty truth, by whether it was read as empty."""
        return _error_rate(self.edits, self.characters)

    @property
    def clipped_cer(self) -> float:
        return min(1.0, self.character_error_rate)

    @property
    def clipped_wer(self) -> float:
        return min(1.0, _error_rate(self.word_edits, self.words))

    @property
    def not_both_empty(self) -> bool:
        return self.longer_length > 0

    @property
    def normalized_edit_distance(self) -> float:
        return self.code_point_edits / self.longer_length if self.longer_length else 0.0

    @property
    def stop_known(self) -> bool:
        return self.reading.stopped is not None

    @property
    def stopped_by_token(self) -> bool:
        return self.reading.stopped is True

    @property
    def is_formula(self) -> bool:
        return self.formula is not None

    @property
    def formula_edit_distance(self) -> float:
        return self.formula.normalized_edit_distance if self.formula else 0.0

    @property
    def has_table(self) -> bool:
        return self.table is not None

    @property
    def table_similarity(self) -> float:
        return self.table.teds if self.table else 0.0

    @property
    def table_structure_similarity(self) -> float:
        return self.table.teds_structure if self.table else 0.0


def _error_rate(edits: int, length: int) -> float:
    if length == 0:
        return float(edits > 0)
    return edits / length


@dataclass(frozen=True)
class MeasuredSample:
    """A sample's score with the units and edits it came from, which the confusion table counts."""

    score: SampleScore
    truth_units: list[str]
    edits: list[UnitEdit]


def measure(reading: Reading, settings: ScoringSettings, table: TableScore | None = None) -> MeasuredSample:
    """Normalise, cut and align one reading, once; ``table`` is what comparing its tables gave."""
    truth = normalise_text(reading.truth, settings.text_normalisation)
    prediction = normalise_text(reading.prediction, settings.text_normalisation)
    truth_units = split_units(truth, settings.cer_unit)
    prediction_units = split_units(prediction, settings.cer_unit)
    edits = unit_edits(truth_units, prediction_units)
    words = split_words(truth)
    # Where every unit is one code point, the distance in code points is already known.
    single = len(truth_units) == len(truth) and len(prediction_units) == len(prediction)
    score = SampleScore(
        reading=reading,
        characters=len(truth_units),
        prediction_characters=len(prediction_units),
        counts=count_edits(edits),
        words=len(words),
        word_counts=count_edits(unit_edits(words, split_words(prediction))),
        code_point_edits=len(edits) if single else edit_distance(truth, prediction),
        longer_length=max(len(truth), len(prediction)),
        exact=truth == prediction,
        looping=ends_in_loop(reading.prediction, reading.truth),
        formula=score_formula(reading) if is_formula(reading) else None,
        table=table,
    )
    return MeasuredSample(score, truth_units, edits)


def column_matrix(samples: Sequence[SampleScore]) -> NDArray[np.float64]:
    """Return the columns of all samples, shape ``(len(samples), len(COLUMNS))``."""
    rows = [[getattr(sample, column) for column in COLUMNS] for sample in samples]
    return np.array(rows, dtype=np.float64).reshape(len(samples), len(COLUMNS))
