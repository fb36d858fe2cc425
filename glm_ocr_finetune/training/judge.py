"""Judging a run by reading: the base before the first step, the tuned model at every evaluation, both at the end."""

from __future__ import annotations

import difflib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.samples import sample_of
from ..errors import UserError
from ..folders import SUMMARY_FILE, readings_file
from ..inputs.prompt import PromptRenderer
from ..metrics import Comparison, Scores, ScoringSettings, compare, read_predictions, score
from ..ranks import is_main_process
from ..reading.samples import read_samples, reading_of, write_predictions
from ..vision.encoder import VisionEncoder

if TYPE_CHECKING:
    from datasets import Dataset

    from ..training_args import TrainingArguments

logger = logging.getLogger(__name__)

LOGGED = {
    "cer": "corpus_cer",
    "mean_cer": "mean_cer",
    "wer": "corpus_wer",
    "exact_match": "exact_match",
    "stop_rate": "stop_rate",
    "repetition_rate": "repetition_rate",
}


LOSSES = ("loss", "mean_token_accuracy", "entropy")  # of TRL's trainer


def check_metric(training_args: TrainingArguments) -> None:
    """Raise UserError for a ``--metric_for_best_model`` that no evaluation of this run gives."""
    metric = training_args.metric_for_best_model
    if training_args.eval_strategy == "no" or metric is None:
        return
    name = metric.removeprefix("eval_")
    if name in LOGGED and not training_args.eval_generate:
        raise UserError(f"--metric_for_best_model {metric} needs reading; leave --eval_generate False out")
    if name not in (*LOGGED, *LOSSES):
        known = [f"eval_{one}" for one in ((*LOGGED, *LOSSES) if training_args.eval_generate else LOSSES)]
        close = difflib.get_close_matches(f"eval_{name}", known, n=1)
        meant = f"did you mean {close[0]}?" if close else f"expected one of: {', '.join(known)}"
        raise UserError(f"--metric_for_best_model {metric} is not a metric of this run; {meant}")


@dataclass(frozen=True)
class Judge:
    """Reads one fixed set of samples with whatever the model is at the moment.

    Attributes:
        samples: N rows of :class:`~..data.splits.Splits`; the same at every reading.
        lengths: N sequence lengths in tokens.
        batch_size: samples read together; None follows the free memory.
        run: output folder of the run, where the readings go, a JSON-lines file for each.
        encoder: gives the image features, the cached ones without work.
        seconds: how long each reading has taken, by its name.
    """

    renderer: PromptRenderer
    samples: Dataset
    lengths: Sequence[int]
    batch_size: int | None
    settings: ScoringSettings
    run: Path
    encoder: VisionEncoder
    seconds: dict[str, float] = field(default_factory=dict)

    def read(self, model: Any, name: str, encoder: VisionEncoder | None = None, progress: bool = False) -> Scores:
        """Read all samples with ``model``, keep the readings as ``name``.jsonl, and score them."""
        was_training = model.training
        model.eval()
        started = time.monotonic()
        readings = read_samples(
            model,
            self.renderer,
            self.samples,
            self.lengths,
            self.batch_size,
            progress=progress,
            encoder=encoder or self.encoder,
        )
        self.seconds[name] = time.monotonic() - started
        model.train(was_training)
        if is_main_process():
            write_predictions(readings, self.file(name))
        return score(readings, self.settings)

    @property
    def last_s(self) -> float:
        """Seconds that the last reading took; 0 before the first."""
        return next(reversed(self.seconds.values()), 0.0)

    def file(self, name: str) -> Path:
        return readings_file(self.run, name)

    def remembered(self, name: str) -> Scores | None:
        """The scores of an earlier reading of these samples, from its file; None when it was never made."""
        file = self.file(name)
        if not file.is_file():
            return None
        readings = read_predictions(file).readings
        own = (reading_of(sample_of(row)) for row in self.samples)
        if {(one.id, one.truth) for one in readings} != {(one.id, one.truth) for one in own}:
            return None
        return score(readings, self.settings)


def logged_metrics(scores: Scores, prefix: str) -> dict[str, float]:
    """The figures that go into the logs and trackers, as ``eval_cer`` and so on; undefined ones are left out."""
    values = {f"{prefix}_{name}": scores.values[metric] for name, metric in LOGGED.items()}
    return {name: value for name, value in values.items() if value is not None}


def summarise(
    base: Scores, tuned: Scores, history: Sequence[Mapping[str, float]], facts: Mapping[str, Any]
) -> tuple[Comparison, dict[str, Any]]:
    """Base against tuned on the same samples, and what ``summary.json`` holds of it."""
    comparison = compare(base, tuned)
    summary = {
        "verdict": comparison.verdict,
        "verdict_text": comparison.finding,
        "scored_with": str(base.settings),
        "settings": asdict(base.settings),
        "samples": len(base.samples),
        "base": base.values,
        "tuned": tuned.values,
        "comparison": {name: _difference(one) for name, one in comparison.differences.items()},
        "history": list(history),
        "run": dict(facts),
    }
    return comparison, summary


def _difference(one: Any) -> dict[str, Any]:
    interval = asdict(one.interval) if one.interval else None
    return {"difference": one.difference, "interval": interval, "verdict": one.verdict}


def write_summary(summary: Mapping[str, Any], directory: Path) -> Path:
    """Write ``summary.json``."""
    file = directory / SUMMARY_FILE
    file.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def report_verdict(
    comparison: Comparison, next_step: str | None = None, name: str = "", may_stay: bool = False
) -> None:
    """Say base against tuned plainly, and what to try next; what is not convincing is a warning.

    Where the tuned model may stay as it was (the forgetting probe), only a worse one is.
    """
    next_step = next_step or (None if may_stay else comparison.next_step)
    line = f"{name}{comparison.finding}" + (f". Next: {next_step}" if next_step else "")
    logger.log(logging.WARNING if next_step else logging.INFO, "%s", line)
