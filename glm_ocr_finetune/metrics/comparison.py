"""Whether a tuned model reads better than its base: paired differences with intervals, and a verdict by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError
from .bootstrap import (
    MIN_UNITS,
    REPLICATES,
    Interval,
    Matrix,
    Units,
    metric_values,
    percentile_interval,
    resampled_sums,
    resampling_units,
)
from .definitions import METRICS, Metric, find_metric
from .samples import COLUMNS, SampleScore, column_matrix
from .scores import Scores

Verdict = Literal["better", "worse", "no difference shown"]

# Rules of thumb of the field (Transkribus): up to 10 % CER a transcription is useful, for searching and correcting.
USABLE_CER = 0.10
NEGLIGIBLE = 0.005
# Wider than this, an interval around 0 leaves room for a gain of two points that was not seen.
WIDE_INTERVAL = 0.04


@dataclass(frozen=True)
class Difference:
    """One metric on both sides; ``difference`` is tuned - base and ``interval`` belongs to it."""

    metric: Metric
    base: float | None
    tuned: float | None
    difference: float | None
    interval: Interval | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """All differences of ``count`` samples, and the metric by which it is decided."""

    metric: str
    count: int
    differences: dict[str, Difference]

    @property
    def decisive(self) -> Difference:
        return self.differences[self.metric]

    @property
    def verdict(self) -> Verdict:
        return self.decisive.verdict

    @property
    def better(self) -> bool:
        return self.verdict == "better"

    @property
    def enough(self) -> bool:
        """Whether there are as many readings as an interval needs."""
        return self.count >= MIN_UNITS

    @property
    def usable(self) -> bool:
        """Whether the tuned model's CER is at most ``USABLE_CER``, or unknown."""
        cer = self.differences["corpus_cer"].tuned
        return cer is None or cer <= USABLE_CER

    @property
    def contradictions(self) -> tuple[Difference, ...]:
        """What points the other way than the verdict: worse figures, or better ones where the verdict is worse."""
        opposite: Verdict = "better" if self.verdict == "worse" else "worse"
        watched = (self.differences[name] for name in _WATCHED if name != self.metric)
        return tuple(one for one in watched if one.verdict == opposite)

    @property
    def convincing(self) -> bool:
        """Better, usable, and nothing points the other way."""
        return self.better and self.usable and not self.contradictions

    @property
    def headline(self) -> str:
        """The verdict in one sentence, with what limits it."""
        if not self.enough:
            readings = "reading" if self.count == 1 else "readings"
            return f"Only {self.count} {readings}: too few to tell the tuned model from the base"
        cer = self.differences["corpus_cer"].tuned
        limits = [] if self.usable or not self.better or cer is None else [f"not usable yet (CER {100 * cer:.3g} %)"]
        limits += [f"{_OPPOSITE[self.verdict]} by {_listed(self.contradictions)}"] if self.contradictions else []
        return _SENTENCES[self.verdict] + (f", but {' and '.join(limits)}" if limits else "")

    @property
    def finding(self) -> str:
        """The verdict with its figures, in one line."""
        decisive = self.decisive
        figures = [f"{self.metric} {_figure(decisive.base)} -> {_figure(decisive.tuned)}, {_interval_text(decisive)}"]
        figures += [f"{one.metric.short} {_figure(one.base)} -> {_figure(one.tuned)}" for one in self.contradictions]
        return f"{self.headline}: {'; '.join(figures)}"

    @property
    def next_step(self) -> str | None:
        """What to do about it; None where the verdict is convincing."""
        return None if self.convincing else _next_step(self)

    def __str__(self) -> str:
        return f"{self.finding}. Next: {self.next_step}" if self.next_step else self.finding


_SENTENCES: dict[Verdict, str] = {
    "better": "The tuned model reads better than the base",
    "worse": "The tuned model reads WORSE than the base",
    "no difference shown": "No difference between the tuned model and the base is shown",
}
_OPPOSITE: dict[Verdict, str] = {"better": "worse", "worse": "better", "no difference shown": "worse"}
# The figures beside CER that a user would miss if they were worse.
_WATCHED = (
    "mean_cer",
    "corpus_wer",
    "exact_match",
    "stop_rate",
    "repetition_rate",
    "length_ratio",
    "teds",
    "formula_edit_distance",
)


def _listed(differences: Sequence[Difference]) -> str:
    names = [one.metric.short for one in differences]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _next_step(comparison: Comparison) -> str:
    if not comparison.enough:
        return f"judge on {MIN_UNITS} samples or more, better 100 (--eval_samples, or a larger evaluation split)"
    if comparison.verdict == "no difference shown":
        return _next_step_without_difference(comparison.decisive)
    if comparison.better and not comparison.contradictions:
        return (
            "train on, with more epochs (--num_train_epochs) or more labelled samples; usable is a CER of 10 % or less"
        )
    if comparison.better:
        return (
            "look at the samples that got worse (report, sorted by Change); where their labels are right, "
            "train on with more epochs (--num_train_epochs)"
        )
    return (
        "look at the samples that got worse (report, sorted by Change); where their labels are right, "
        "train again with a third of the --learning_rate"
    )


def _next_step_without_difference(decisive: Difference) -> str:
    base, interval = decisive.base, decisive.interval
    if base is not None and decisive.metric.direction == "lower" and base <= NEGLIGIBLE:
        return "serve the base: it already reads these samples all but without an error"
    if interval is not None and interval.high - interval.low > WIDE_INTERVAL:
        return "judge on more samples (--eval_samples, or a larger evaluation split): the interval is wide"
    return "train again with three times the --learning_rate, or with more epochs (--num_train_epochs)"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _interval_text(difference: Difference) -> str:
    interval = difference.interval
    if interval is None or difference.difference is None:
        return f"no interval (it takes {MIN_UNITS} readings or more)"
    bounds = f"95 % interval {interval.low:+.4f} to {interval.high:+.4f}"
    return f"difference {difference.difference:+.4f}, {bounds}, over {interval.num_units} {interval.resampled}"


def compare(
    base: Scores, tuned: Scores, metric: str = "corpus_cer", replicates: int = REPLICATES, seed: int = 0
) -> Comparison:
    """Compare two scorings of the same samples, paired by id: each draw takes the same documents on both sides.

    The rule: when the whole 95 % interval of tuned - base lies on the better side of 0, ``better``; on the worse side,
    ``worse``; otherwise, or with fewer than ``MIN_UNITS`` units, ``no difference shown``.

    Raises:
        UserError: the two differ in settings, in samples, or in a truth.
    """
    find_metric(metric)
    tuned_samples = _paired_samples(base, tuned)
    units = resampling_units(base.samples)
    sides = np.hstack([column_matrix(base.samples), column_matrix(tuned_samples)])
    sums = np.vstack([sides.sum(axis=0, keepdims=True), _draws(sides, units, replicates, seed)])
    differences = {name: _difference(entry, sums, units) for name, entry in METRICS.items()}
    return Comparison(metric, len(base.samples), differences)


def _paired_samples(base: Scores, tuned: Scores) -> list[SampleScore]:
    """Return the tuned samples in the order of the base."""
    if base.settings != tuned.settings:
        raise UserError(f"cannot compare: base scored with ({base.settings}), tuned with ({tuned.settings})")
    by_id = {sample.reading.id: sample for sample in tuned.samples}
    unpaired = sorted({sample.reading.id for sample in base.samples} ^ by_id.keys())
    if unpaired:
        raise UserError(f"cannot compare: {len(unpaired)} samples are on one side only, the first is {unpaired[0]!r}")
    for sample in base.samples:
        if sample.reading.truth != by_id[sample.reading.id].reading.truth:
            raise UserError(f"cannot compare: the truth of {sample.reading.id!r} differs between base and tuned")
    return [by_id[sample.reading.id] for sample in base.samples]


def _draws(sides: Matrix, units: Units, replicates: int, seed: int) -> Matrix:
    if units.count < MIN_UNITS:
        return np.empty((0, sides.shape[1]))
    return resampled_sums(sides, units, replicates, seed)


def _difference(metric: Metric, sums: Matrix, units: Units) -> Difference:
    """Judge one metric; row 0 of ``sums`` is the full set, the others are draws; base columns come first."""
    base, tuned = (metric_values(metric, side) for side in np.split(sums, [len(COLUMNS)], axis=1))
    interval = percentile_interval(tuned[1:] - base[1:], units)
    cost = percentile_interval(_cost(metric, tuned[1:]) - _cost(metric, base[1:]), units)
    return Difference(
        metric, _defined(base[0]), _defined(tuned[0]), _defined(tuned[0] - base[0]), interval, _verdict(cost)
    )


def _cost(metric: Metric, values: Matrix) -> Matrix:
    """Turn values so that lower is better."""
    if metric.direction == "one":
        return np.abs(values - 1)
    return -values if metric.direction == "higher" else values


def _verdict(cost: Interval | None) -> Verdict:
    if cost is None or cost.low <= 0 <= cost.high:
        return "no difference shown"
    return "better" if cost.high < 0 else "worse"


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
