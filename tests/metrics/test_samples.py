"""The counts of one reading, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from glm_ocr_finetune.metrics import Reading, ScoringSettings
from glm_ocr_finetune.metrics.samples import COLUMNS, column_matrix, measure


@pytest.mark.parametrize(
    ("truth", "prediction", "edits", "word_edits", "rate"),
    [
        ("ab cd", "ab cd", 0, 0, 0.0),
        ("ab cd", "ab ce", 1, 1, 0.2),
        ("ab", "abcdef", 4, 1, 2.0),
        ("e\u0301a", "éa", 0, 0, 0.0),  # NFC makes one of two ways to write it
        ("", "", 0, 0, 0.0),
        ("", "x", 1, 1, 1.0),
        ("ab", "", 2, 1, 1.0),
    ],
)
def test_edits(truth: str, prediction: str, edits: int, word_edits: int, rate: float) -> None:
    score = measure(Reading("a", truth, prediction), ScoringSettings()).score
    assert (score.edits, score.word_edits) == (edits, word_edits)
    assert score.character_error_rate == pytest.approx(rate)
    assert score.clipped_cer == pytest.approx(min(1.0, rate))
    assert score.exact == (edits == 0)


def test_stopping_is_unknown_unless_it_is_said() -> None:
    known = [
        measure(Reading("a", "x", "x", stopped=stopped), ScoringSettings()).score for stopped in (None, True, False)
    ]
    assert [score.stop_known for score in known] == [False, True, True]
    assert [score.stopped_by_token for score in known] == [False, True, False]


def test_a_formula_is_one_only_where_it_was_asked_for() -> None:
    asked = measure(
        Reading("a", r"\frac{a}{b}", r"\frac{a}{c}", prompt="Formula Recognition:"), ScoringSettings()
    ).score
    assert asked.is_formula
    assert 0 < asked.formula_edit_distance < 1
    assert not measure(Reading("a", r"\frac{a}{b}", ""), ScoringSettings()).score.is_formula


def test_columns_are_the_attributes_in_order() -> None:
    scores = [measure(Reading(str(i), "ab", "a" * i), ScoringSettings()).score for i in range(3)]
    matrix = column_matrix(scores)
    assert matrix.shape == (3, len(COLUMNS))
    assert np.array_equal(matrix[:, COLUMNS.index("edits")], [2, 1, 1])
    assert matrix[:, COLUMNS.index("one")].sum() == 3
