"""The judge: a fixed draw of samples, figures for the log, and a summary that says what was found."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from glm_ocr_finetune.metrics import Reading, Scores, compare, score
from glm_ocr_finetune.training.judge import choose_samples, logged_metrics, report_verdict, summarise, write_summary

TRUTHS = [f"line {i} of ten" for i in range(10)]


def scores(wrong: int, stopped: bool | None = True) -> Scores:
    """Ten readings, the first ``wrong`` of them empty."""
    return score([Reading(str(i), text, "" if i < wrong else text, stopped=stopped) for i, text in enumerate(TRUTHS)])


def test_the_same_samples_are_drawn_for_a_seed_with_their_lengths() -> None:
    samples = Dataset.from_dict({"n": list(range(50))})
    chosen, lengths = choose_samples(samples, np.arange(50) * 10, 7, seed=3)
    again, _ = choose_samples(samples, np.arange(50) * 10, 7, seed=3)
    other, _ = choose_samples(samples, np.arange(50) * 10, 7, seed=4)
    assert len(chosen) == 7
    assert chosen["n"] == again["n"] != other["n"]
    assert lengths == [10 * n for n in chosen["n"]]
    assert choose_samples(samples, np.arange(50), 500, seed=3)[0]["n"] == list(range(50))


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
    assert read["verdict_text"] == str(comparison)
    assert read["base"]["exact_match"] == pytest.approx(1 - base / 10)
    difference = read["comparison"]["exact_match"]
    assert difference["difference"] == pytest.approx((base - tuned) / 10)
    assert difference["interval"]["low"] <= difference["difference"] <= difference["interval"]["high"]


@pytest.mark.parametrize(
    ("base", "tuned", "may_stay", "level"),
    [
        (9, 0, False, "INFO"),
        (0, 9, False, "WARNING"),
        (3, 3, False, "WARNING"),
        (3, 3, True, "INFO"),
        (0, 9, True, "WARNING"),
    ],
)
def test_what_did_not_get_better_is_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, base: int, tuned: int, may_stay: bool, level: str
) -> None:
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "handlers", [caplog.handler])
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "propagate", False)
    with caplog.at_level(logging.INFO, "glm_ocr_finetune"):
        report_verdict(compare(scores(base), scores(tuned)), "probe: ", may_stay)
    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith("probe: ")
