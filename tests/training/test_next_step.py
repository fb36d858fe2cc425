"""Every verdict that is not "better" names one thing to try, and the right one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_ocr_finetune.metrics import Comparison, Reading, compare, score
from glm_ocr_finetune.training.next_step import Course, after_a_probe, after_a_run

CALM = Course(
    data="data.jsonl",
    base_model="tiny",
    rate=1e-4,
    steps=300,
    epochs=3.0,
    losses=[2.0, 1.2, 0.8],
    evaluated={100: 1.0, 200: 0.9, 300: 0.88},
    num_read=40,
    num_held_out=40,
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


def test_worse_after_a_fallen_loss_doubts_the_labels() -> None:
    advice = str(after_a_run(WORSE, CALM))
    assert "evaluate --model tiny --dataset_name data.jsonl --find_label_errors True" in advice


def test_too_few_readings_ask_for_more_before_all_else() -> None:
    few = replace(CALM, num_read=4, num_held_out=4, losses=[1.0, 9.0])
    advice = str(after_a_run(verdict(0, 4, count=4), few))
    assert "4 readings are too few" in advice
    assert "--eval_split_size" in advice


def test_more_readings_where_there_are_enough_of_them() -> None:
    advice = str(after_a_run(SAME, replace(CALM, num_held_out=100_000)))
    assert "--eval_samples" in advice
    wanted = int(advice.rsplit(" ", 1)[1])
    assert 40 < wanted < 100_000


def test_longer_where_there_are_no_more_readings() -> None:
    assert "--num_train_epochs 6" in str(after_a_run(SAME, CALM))


def test_a_base_that_reads_it_already() -> None:
    assert "reads this data at 0.25%" in str(after_a_run(verdict(1, 2), replace(CALM, num_held_out=40)))


def test_equal_readings() -> None:
    assert "--num_train_epochs" in str(after_a_run(verdict(20, 20), CALM))


def test_a_probe_that_got_worse_is_mixed_in() -> None:
    assert "--replay_dataset other.jsonl" in str(after_a_probe(WORSE, "other.jsonl"))
    assert after_a_probe(SAME, "other.jsonl") is None
    assert after_a_probe(BETTER, "other.jsonl") is None
