"""Scores of readings: character and word error rates, behaviour, confusions, tables, formulas, intervals."""

from .bootstrap import MIN_UNITS, Interval
from .comparison import USABLE_CER, Comparison, Difference, compare
from .confusion import Confusion, ScriptAccuracy, script_of
from .definitions import METRICS, Metric, find_metric
from .edit import AlignedPart, alignment
from .formulas import FormulaScore, latex_tokens, score_formula
from .normalisation import (
    CER_UNITS,
    TEXT_NORMALISATIONS,
    ScoringSettings,
    normalise_text,
    split_units,
    split_words,
)
from .predictions import Predictions, read_predictions
from .reading import Reading
from .repetition import ends_in_loop
from .samples import SampleScore
from .scores import GroupScore, Scores, Totals, score, score_with_tables
from .tables import TableScore, TableScores, has_table, score_tables

__all__ = [
    "CER_UNITS",
    "METRICS",
    "MIN_UNITS",
    "TEXT_NORMALISATIONS",
    "USABLE_CER",
    "AlignedPart",
    "Comparison",
    "Confusion",
    "Difference",
    "FormulaScore",
    "GroupScore",
    "Interval",
    "Metric",
    "Predictions",
    "Reading",
    "SampleScore",
    "Scores",
    "ScoringSettings",
    "ScriptAccuracy",
    "TableScore",
    "TableScores",
    "Totals",
    "alignment",
    "compare",
    "ends_in_loop",
    "find_metric",
    "has_table",
    "latex_tokens",
    "normalise_text",
    "read_predictions",
    "score",
    "score_formula",
    "score_tables",
    "score_with_tables",
    "script_of",
    "split_units",
    "split_words",
]
