from __future__ import annotations

import random
import re

import numpy as np
import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.metrics import Comparison, Reading, Scores, ScoringSettings, compare, score


def readings(error_rate: float, count: int = 200, per_document: int | None = None, seed: int = 0) -> list[Reading]:
    rng = random.Random(seed)
    made = []
    for index in range(count):
        truth = "".join(rng.choices("abcdefghij ", k=40))
        prediction = "".join("x" if rng.random() < error_rate else letter for letter in truth)
        document = None if per_document is None else f"page{index // per_document}"
        made.append(Reading(str(index), truth, prediction, stopped=rng.random() > error_rate, document=document))
    return made


def with_predictions(base: list[Reading], error_rate: float, seed: int) -> Scores:
    rng = random.Random(seed)
    return score(
        [
            Reading(
                reading.id,
                reading.truth,
                "".join("x" if rng.random() < error_rate else letter for letter in reading.truth),
                stopped=rng.random() > error_rate,
                document=reading.document,
            )
            for reading in base
        ]
    )


def test_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    first, again, other = (score(readings(0.1), seed=seed).overall.intervals for seed in (0, 0, 1))
    assert first == again
    assert first["corpus_cer"] != other["corpus_cer"]


def test_interval_holds_the_value_and_has_the_expected_width() -> None:
    scores = score(readings(0.1, count=400))
    interval, value = scores.overall.intervals["mean_cer"], scores.values["mean_cer"]
    assert interval is not None
    assert value is not None
    assert interval.low < value < interval.high
    rates = [sample.clipped_cer for sample in scores.samples]
    normal_width = 2 * 1.96 * float(np.std(rates)) / 400**0.5
    assert interval.high - interval.low == pytest.approx(normal_width, rel=0.15)


def test_documents_are_drawn_whole() -> None:
    """Lines of one page that err together must widen the interval."""
    rng = random.Random(3)
    lines = []
    for page in range(20):
        bad = rng.random() < 0.5
        for line in range(20):
            lines.append(Reading(f"{page}-{line}", "abcdefghij", "x" * 10 if bad else "abcdefghij", document=str(page)))
    by_page = score(lines).overall.intervals["mean_cer"]
    by_line = score([Reading(line.id, line.truth, line.prediction) for line in lines]).overall.intervals["mean_cer"]
    assert by_page is not None
    assert by_line is not None
    assert (by_page.resampled, by_page.num_units) == ("documents", 20)
    assert (by_line.resampled, by_line.num_units) == ("readings", 400)
    assert by_page.high - by_page.low > 3 * (by_line.high - by_line.low)


def test_few_documents_fall_back_to_readings_and_say_so() -> None:
    interval = score(readings(0.1, count=50, per_document=25)).overall.intervals["corpus_cer"]
    assert interval is not None
    assert interval.resampled == "readings"


def test_no_interval_for_five_readings() -> None:
    assert set(score(readings(0.1, count=5)).overall.intervals.values()) == {None}
    assert score(readings(0.1, count=6)).overall.intervals["corpus_cer"] is not None


def test_no_interval_for_what_is_unknown() -> None:
    unknown = [Reading(reading.id, reading.truth, reading.prediction) for reading in readings(0.1)]
    assert score(unknown).overall.intervals["stop_rate"] is None


def test_intervals_cover_the_true_rate() -> None:
    """In 200 repetitions a 95 % interval misses the true rate of 0.1 about ten times."""
    hits = 0
    for seed in range(200):
        interval = score(readings(0.1, count=40, seed=seed)).overall.intervals["corpus_cer"]
        assert interval is not None
        hits += interval.low <= 0.1 <= interval.high
    assert 178 <= hits <= 199


@pytest.mark.parametrize(
    ("base_rate", "tuned_rate", "verdict"),
    [(0.3, 0.1, "better"), (0.1, 0.3, "worse"), (0.1, 0.1, "no difference shown")],
)
def test_verdict(base_rate: float, tuned_rate: float, verdict: str) -> None:
    base = readings(base_rate, per_document=4)
    comparison = compare(score(base), with_predictions(base, tuned_rate, seed=11))
    assert comparison.verdict == verdict
    assert comparison.better == (verdict == "better")
    assert comparison.differences["mean_cer"].verdict == verdict
    if verdict != "no difference shown":
        assert comparison.differences["exact_match"].verdict in (verdict, "no difference shown")
        assert comparison.differences["stop_rate"].verdict == verdict  # higher is better


def test_text_says_it_plainly() -> None:
    base = readings(0.1)
    text = str(compare(score(base), with_predictions(base, 0.3, seed=1)))
    assert re.match(
        r"The tuned model reads WORSE than the base: corpus_cer 0\.\d+ -> 0\.\d+, difference \+0\.\d+, "
        r"95 % interval \+0\.\d+ to \+0\.\d+, over 200 readings\. Next: look at the samples that got worse ",
        text,
    )


def test_length_ratio_is_judged_by_its_distance_from_one() -> None:
    base = [Reading(str(i), "abcdefghij", "abcdefghij" + "z" * (i % 4)) for i in range(40)]
    tuned = [Reading(str(i), "abcdefghij", "abcdefghij"[: 10 - (i % 2)]) for i in range(40)]
    assert compare(score(base), score(tuned)).differences["length_ratio"].verdict == "better"


def test_pairing_is_by_id_and_not_by_order() -> None:
    base = readings(0.2)
    tuned = with_predictions(base, 0.1, seed=2)
    turned = score([sample.reading for sample in reversed(tuned.samples)])
    assert compare(score(base), turned) == compare(score(base), tuned)


def test_a_model_against_itself_shows_no_difference() -> None:
    scores = score(readings(0.1))
    decisive = compare(scores, scores).decisive
    assert decisive.difference == 0
    assert decisive.interval is not None
    assert decisive.interval.low == decisive.interval.high == 0
    assert decisive.verdict == "no difference shown"


@pytest.mark.parametrize("count", [1, 5])
def test_few_readings_never_decide_and_that_is_said_first(count: int) -> None:
    base = readings(0.9, count=count)
    comparison = compare(score(base), with_predictions(base, 0.0, seed=1))
    assert comparison.verdict == "no difference shown"
    said = f"Only {count} reading{'s' if count > 1 else ''}: too few to tell the tuned model from the base: corpus_cer"
    assert str(comparison).startswith(said)
    assert "Next: judge on 6 samples or more" in str(comparison)


def paired(base: list[str], tuned: list[str], truth: str = "one two three four five") -> Comparison:
    """Thirty readings of one truth on both sides: what the base wrote and what the tuned model wrote, in turn."""
    sides = [
        score([Reading(str(i), truth, texts[i % len(texts)], stopped=True) for i in range(30)])
        for texts in (base, tuned)
    ]
    return compare(*sides)


def test_a_convincing_verdict_has_no_more_to_say() -> None:
    comparison = paired(["one two three"], ["one two three four five"])
    assert comparison.convincing
    assert comparison.headline == "The tuned model reads better than the base"
    assert comparison.next_step is None
    assert "Next" not in str(comparison)


def test_better_is_not_usable() -> None:
    comparison = paired(["one"], ["one two"])
    assert comparison.better
    assert not comparison.convincing
    assert comparison.headline == "The tuned model reads better than the base, but not usable yet (CER 69.6 %)"
    assert "Next: train on" in str(comparison)


def test_what_contradicts_is_named_with_its_figures() -> None:
    """Fewer wrong characters, but more wrong words, and loops where there were none."""
    comparison = paired(
        ["one two three four five and a very long end that none wrote"],
        ["onee twoo threee fourr fivee", "one two three four five five five five five five"],
    )
    assert comparison.better
    assert not comparison.usable
    assert [one.metric.name for one in comparison.contradictions] == ["repetition_rate"]
    assert comparison.headline.endswith(", but not usable yet (CER 65.2 %) and worse by loops")
    assert "; loops 0.0000 -> 0.5000. Next: look at the samples that got worse" in str(comparison)


def test_a_worse_model_is_said_to_be_better_where_it_is() -> None:
    comparison = paired(["onee twoo threee fourr fivee"], ["one two three", "one two three five five five five"])
    assert comparison.verdict == "worse"
    assert comparison.headline == "The tuned model reads WORSE than the base, but better by WER and length"


@pytest.mark.parametrize(
    ("base", "tuned", "step"),
    [
        (["one two three four five"], ["one two three four five"], "serve the base"),
        (["one two three four fiv"], ["one two three four fi_e"], "three times the --learning_rate"),
        (["x", "one two three four five"], ["one two three four five", "x"], "judge on more samples"),
    ],
)
def test_no_difference_has_a_next_step_of_its_own(base: list[str], tuned: list[str], step: str) -> None:
    comparison = paired(base, tuned)
    assert comparison.verdict == "no difference shown"
    assert step in str(comparison.next_step)


def test_bad_comparisons() -> None:
    base = readings(0.1, count=10)
    scores = score(base)
    with pytest.raises(UserError, match="10 samples are on one side only|1 samples are on one side only"):
        compare(scores, score(base[:9]))
    with pytest.raises(UserError, match=r"scored with \(characters are grapheme clusters; NFC.*code points"):
        compare(scores, score(base, ScoringSettings(cer_unit="codepoint")))
    other = [Reading(base[0].id, "another truth", ""), *base[1:]]
    with pytest.raises(UserError, match="the truth of '0' differs"):
        compare(scores, score(other))
    with pytest.raises(UserError, match="metric 'accuracy' is not known"):
        compare(scores, scores, metric="accuracy")
