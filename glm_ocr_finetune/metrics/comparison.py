"""Whether a tuned model reads better than its base: paired differences with intervals, and a verdict by rule."""

from __future__ import annotations

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
    """All differences, and the metric by which it is decided."""

    metric: str
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

    def __str__(self) -> str:
        decisive = self.decisive
        figures = f"{self.metric} {_figure(decisive.base)} -> {_figure(decisive.tuned)}"
        return f"{_SENTENCES[self.verdict]}: {figures}, {_interval_text(decisive)}"


_SENTENCES: dict[Verdict, str] = {
    "better": "The tuned model reads better than the base",
    "worse": "The tuned model reads WORSE than the base",
    "no difference shown": "No difference between the tuned model and the base is shown",
}


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
    return Comparison(metric, {name: _difference(entry, sums, units) for name, entry in METRICS.items()})


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
