"""The judge: figures for the log, and a summary that says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glm_ocr_finetune.metrics import Reading, Scores, score
from glm_ocr_finetune.training.judge import logged_metrics, report_verdict, summarise, write_summary

TRUTHS = [f"line {i} of ten" for i in range(10)]


def scores(wrong: int, stopped: bool | None = True) -> Scores:
    """Ten readings, the first ``wrong`` of them empty."""
    return score([Reading(str(i), text, "" if i < wrong else text, stopped=stopped) for i, text in enumerate(TRUTHS)])


def test_what_is_not_known_is_not_logged() -> None:
    logged = logged_metrics(scores(1), "eval")
    assert logged["eval_exact_match"] == pytest.approx(0.9)
    assert logged["eval_stop_rate"] == 1
    assert "eval_stop_rate" not in logged_metrics(scores(1, stopped=None), "eval")


@pytest.mark.parametrize(
    ("base", "tuned", "verdict"), [(9, 0, "better"), (0, 9, "worse"), (3, 3, "no difference shown")]
)
def test_the_summary_holds_both_sides_and_the_verdict(tmp_path: Path, base: int, tuned: int, verdict: str) -> None:
    comparison, summary = summarise(scores(base), scores(tuned), [{"step": 1, "eval_cer": 0.5}], {"model": "tiny"})
    read = json.loads(write_summary(summary, tmp_path).read_text(encoding="utf-8"))
    assert (read["verdict"], read["samples"], read["run"]) == (verdict, 10, {"model": "tiny"})
    assert read["verdict_text"] == comparison.finding
    assert read["base"]["exact_match"] == pytest.approx(1 - base / 10)
    difference = read["comparison"]["exact_match"]
    assert difference["difference"] == pytest.approx((base - tuned) / 10)
    assert difference["interval"]["low"] <= difference["difference"] <= difference["interval"]["high"]


@pytest.mark.parametrize(
    ("base", "tuned", "level", "step"),
    [(9, 0, "INFO", None), (9, 3, "WARNING", "train on"), (0, 9, "WARNING", "a third of the --learning_rate")],
)
def test_what_is_not_convincing_is_a_warning_with_a_next_step(
    caplog: pytest.LogCaptureFixture, base: int, tuned: int, level: str, step: str | None
) -> None:
    caplog.set_level("INFO")
    comparison, summary = summarise(scores(base), scores(tuned), [], {})
    report_verdict(comparison, None)
    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith(summary["verdict_text"])
    assert ("Next: " in record.getMessage()) == (step is not None)
    assert (step or "") in record.getMessage()


def test_advice_of_the_run_stands_before_the_general_one(caplog: pytest.LogCaptureFixture) -> None:
    comparison, _ = summarise(scores(0), scores(9), [], {})
    report_verdict(comparison, "buy more pages")
    assert caplog.records[0].getMessage() == f"{comparison.finding}. Next: buy more pages"


def test_a_probe_may_stay_as_it_was_but_not_become_worse(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for tuned, advice in ((3, None), (9, "mix some in")):
        comparison, _ = summarise(scores(3), scores(tuned), [], {})
        report_verdict(comparison, advice, "forgetting probe lines: ", may_stay=True)
    same, worse = caplog.records
    assert (same.levelname, worse.levelname) == ("INFO", "WARNING")
    assert "Next" not in same.getMessage()
    assert worse.getMessage().startswith("forgetting probe lines: The tuned model reads WORSE")
    assert worse.getMessage().endswith(". Next: mix some in")
