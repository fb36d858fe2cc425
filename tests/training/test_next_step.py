"""Every verdict that is not "better" names one thing to try, and the right one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_ocr_finetune.metrics import Comparison, Reading, compare, score
from glm_ocr_finetune.training.next_step import Course, after_a_probe, after_a_run

CALM = Course(
    rate=1e-4,
    steps=300,
    epochs=3.0,
    losses=[2.0, 1.2, 0.8],
    evaluated={100: 1.0, 200: 0.9, 300: 0.88},
)


def verdict(base_errors: int, tuned_errors: int, count: int = 40) -> Comparison:
    """A comparison of readings of ten letters, the first of which have one error each."""
    sides = [
        score([Reading(str(i), "abcdefghij", "abcdefghix" if i < errors else "abcdefghij") for i in range(count)])
        for errors in (base_errors, tuned_errors)
    ]
    return compare(*sides)


BETTER, WORSE, SAME = verdict(40, 2), verdict(2, 40), verdict(20, 19)


def test_the_verdicts_are_what_they_are_called() -> None:
    assert [one.verdict for one in (BETTER, WORSE, SAME)] == ["better", "worse", "no difference shown"]


def test_better_needs_no_advice() -> None:
    assert after_a_run(BETTER, CALM) is None
    assert after_a_run(BETTER, replace(CALM, losses=[1.0, 9.0])) is None


@pytest.mark.parametrize("comparison", [WORSE, SAME], ids=["worse", "same"])
@pytest.mark.parametrize(
    ("course", "advice"),
    [
        (replace(CALM, losses=[2.0, 1.9, 2.4]), "--learning_rate 1e-05 (a tenth)"),
        (replace(CALM, losses=[2.0, float("nan")]), "--learning_rate 1e-05 (a tenth)"),
        (replace(CALM, losses=[2.0, 1.97]), "--learning_rate 0.001 (ten times as much)"),
        (replace(CALM, losses=[], evaluated={100: 2.0, 200: 1.99}), "--learning_rate 0.001"),
        (replace(CALM, losses=[], evaluated={9: 2.0}, steps=9), "--num_train_epochs 17"),
        (replace(CALM, losses=[], evaluated={}, steps=1, epochs=0.01), "--num_train_epochs 2"),
        (replace(CALM, evaluated={100: 1.0, 200: 0.6, 300: 0.9}), "--max_steps 200"),
    ],
    ids=["rose", "not a number", "flat", "flat, by evaluation", "few steps", "one step", "memorised"],
)
def test_the_losses_say_what_to_try(comparison: Comparison, course: Course, advice: str) -> None:
    assert advice in str(after_a_run(comparison, course))


def test_losses_that_say_nothing_leave_it_to_the_readings() -> None:
    assert after_a_run(WORSE, CALM) == WORSE.next_step
    assert after_a_run(SAME, CALM) == SAME.next_step
    assert WORSE.next_step != SAME.next_step


def test_too_few_readings_come_before_all_else() -> None:
    few = verdict(0, 4, count=4)
    assert after_a_run(few, replace(CALM, losses=[1.0, 9.0])) == few.next_step


def test_a_probe_that_got_worse_is_mixed_in() -> None:
    assert "--replay_dataset other.jsonl" in str(after_a_probe(WORSE, "other.jsonl"))
    assert after_a_probe(SAME, "other.jsonl") is None
    assert after_a_probe(BETTER, "other.jsonl") is None
