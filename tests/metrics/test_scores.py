from __future__ import annotations

import json
import random
import sys
import time

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.metrics import METRICS, Reading, ScoringSettings, find_metric, score, score_with_tables

READINGS = [
    Reading("a", "kitten", "sitting", stopped=True, prompt="Text Recognition:", source="x", document="d1"),
    Reading("b", "one two", "one two", stopped=False, prompt="Text Recognition:", source="y", document="d1"),
    Reading("c", "ab", "ab" * 15, prompt="Table Recognition:", source="y", document="d2"),
    Reading("d", "", "", stopped=True),
    Reading("e", "", "ghost"),
    Reading("f", "lost", ""),
]


def test_every_figure_by_hand() -> None:
    values = score(READINGS).values
    characters = 6 + 7 + 2 + 0 + 0 + 4
    edits = 3 + 0 + 28 + 0 + 5 + 4
    assert values == pytest.approx(
        {
            "corpus_cer": edits / characters,
            "mean_cer": (3 / 6 + 0 + 1 + 0 + 1 + 1) / 6,
            "corpus_wer": (1 + 0 + 1 + 0 + 1 + 1) / (1 + 2 + 1 + 0 + 0 + 1),
            "mean_wer": (1 + 0 + 1 + 0 + 1 + 1) / 6,
            "exact_match": 2 / 6,
            "normalized_edit_distance": (3 / 7 + 0 + 28 / 30 + 1 + 1) / 5,
            "normalized_edit_distance_whole": edits / (7 + 7 + 30 + 0 + 5 + 4),
            "stop_rate": 2 / 3,
            "repetition_rate": 1 / 6,
            "length_ratio": (7 + 7 + 30 + 0 + 5 + 0) / characters,
            "teds": None,
            "teds_structure": None,
            "formula_edit_distance": None,
        }
    )


def test_counts_are_kept_beside_the_rates() -> None:
    totals = score(READINGS).totals
    assert (totals.substitutions, totals.deletions, totals.insertions) == (2, 4, 1 + 28 + 5)
    assert (totals.empty_truths, totals.empty_predictions, totals.stop_unknown) == (2, 2, 3)


def test_normalized_edit_distance_counts_code_points_whatever_the_unit() -> None:
    reading = Reading("1", "ខ្មែរ", "ខ្មរ")
    for unit in ("grapheme", "codepoint"):
        assert score([reading], ScoringSettings("nfc", unit)).values["normalized_edit_distance"] == 1 / 5


def test_groups_add_up_and_name_what_has_no_name() -> None:
    scores = score(READINGS)
    assert {name: group.count for name, group in scores.by_prompt.items()} == {
        "(none)": 3,
        "Table Recognition:": 1,
        "Text Recognition:": 2,
    }
    assert scores.by_source["x"].values["corpus_cer"] == 3 / 6
    assert scores.by_source["y"].values == score(READINGS[1:3]).values


def test_what_is_not_defined_is_none_and_not_zero() -> None:
    values = score([Reading("1", "", "ghost")]).values
    assert values["corpus_cer"] is values["corpus_wer"] is values["length_ratio"] is values["stop_rate"] is None
    assert values["mean_cer"] == 1


def test_order_of_readings_changes_nothing() -> None:
    shuffled = random.Random(1).sample(READINGS, len(READINGS))
    assert score(shuffled).values == pytest.approx(score(READINGS).values)
    assert [(row.truth, row.prediction, row.count) for row in score(shuffled).confusions] == [
        (row.truth, row.prediction, row.count) for row in score(READINGS).confusions
    ]


def test_json_holds_the_settings_and_survives_a_round_trip() -> None:
    scores = score(READINGS)
    written = json.loads(json.dumps(scores.to_dict(max_confusions=2), allow_nan=False))
    assert written["settings"] == {"text_normalisation": "nfc", "cer_unit": "grapheme"}
    assert written["scored_with"] == str(ScoringSettings())
    assert written["overall"]["values"] == scores.values
    assert len(written["confusions"]) == 2 < written["num_confusions"]
    assert "samples" not in written


def test_every_metric_is_declared() -> None:
    assert set(score(READINGS).values) == set(METRICS)
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.direction in ("lower", "higher", "one")
        assert metric.aggregation == ("corpus" if metric.denominator != "one" else "mean") or metric.denominator in (
            "not_both_empty",
            "stop_known",
            "has_table",
            "is_formula",
        )


def test_formulas_are_those_that_were_asked_for() -> None:
    asked = Reading("f", r"x^{2} + y", r"$x^2 + z$", prompt="Formula Recognition:\n")
    other = Reading("t", r"x^{2}", "", prompt="Text Recognition:")
    scores = score([asked, other])
    assert scores.values["formula_edit_distance"] == 1 / 5
    assert scores.by_prompt["Text Recognition:"].values["formula_edit_distance"] is None


def test_tables_are_compared_without_any_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("table_recognition_metric", "apted", "Levenshtein"):
        monkeypatch.setitem(sys.modules, package, None)
    tables = [f"<table><tr><td>{text}</td></tr></table>" for text in "ab"]
    scores = score_with_tables([Reading("t", *tables, prompt="Table Recognition:"), *READINGS])
    assert scores.values["teds"] == pytest.approx(2 / 3)
    assert scores.values["stop_rate"] == 2 / 3


def test_bad_input() -> None:
    with pytest.raises(UserError, match="no readings to score"):
        score([])
    with pytest.raises(UserError, match="id 'a' occurs 2 times"):
        score([READINGS[0], READINGS[0]])
    with pytest.raises(UserError, match="metric 'cer' is not known; expected one of: corpus_cer"):
        find_metric("cer")


def test_ten_thousand_in_time() -> None:
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz éüकिខ្មែ "
    readings = []
    for index in range(10_000):
        truth = "".join(rng.choices(letters, k=rng.randint(40, 60)))
        prediction = "".join(rng.choice(letters) if rng.random() < 0.08 else letter for letter in truth)
        readings.append(Reading(str(index), truth, prediction, prompt=str(index % 3), document=str(index // 20)))
    start = time.process_time()
    scores = score(readings)
    assert time.process_time() - start < 20
    assert scores.overall.count == 10_000
