"""Intervals by the bootstrap: documents drawn with replacement, the figures computed anew from each draw.

Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval); paired
differences as in M. Bisani and H. Ney, Bootstrap estimates for confidence intervals in ASR performance evaluation,
ICASSP 2004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .definitions import METRICS, Metric
from .samples import COLUMNS, SampleScore, column_matrix

LEVEL = 0.95
REPLICATES = 1000
# With five units or fewer even a unanimous result has a two-sided chance of 2 / 2**5 = 6 % (sign test): no interval.
MIN_UNITS = 6
_DRAWS_AT_ONCE = 2_000_000

ResampledUnit = Literal["documents", "readings"]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A percentile interval at level ``LEVEL``, with what was resampled and how many of those there were."""

    low: float
    high: float
    resampled: ResampledUnit
    num_units: int


@dataclass(frozen=True)
class Units:
    """What is drawn: ``codes[i]`` is the unit of sample ``i``, from 0 to ``count - 1``."""

    kind: ResampledUnit
    codes: NDArray[np.intp]
    count: int


def resampling_units(samples: Sequence[SampleScore]) -> Units:
    """Group samples by document; a sample without one stands for itself.

    With fewer than ``MIN_UNITS`` documents the readings are drawn instead, and the interval says so: it then tells
    nothing about other documents.
    """
    keys: dict[tuple[str, str], int] = {}
    codes = [keys.setdefault(_document_key(sample), len(keys)) for sample in samples]
    if any(sample.reading.document is not None for sample in samples) and len(keys) >= MIN_UNITS:
        return Units("documents", np.array(codes, dtype=np.intp), len(keys))
    return Units("readings", np.arange(len(samples), dtype=np.intp), len(samples))


def _document_key(sample: SampleScore) -> tuple[str, str]:
    reading = sample.reading
    return ("reading", reading.id) if reading.document is None else ("document", reading.document)


def resampled_sums(columns: Matrix, units: Units, replicates: int, seed: int) -> Matrix:
    """Draw ``units.count`` units with replacement, ``replicates`` times, and sum the columns of each draw.

    Args:
        columns: shape ``(samples, columns)``.

    Returns:
        shape ``(replicates, columns)``; the same for the same seed.
    """
    unit_sums: Matrix = np.stack([np.bincount(units.codes, column, units.count) for column in columns.T], axis=1)
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // units.count)
    starts = range(0, replicates, at_once)
    return np.concatenate([_draw(rng, unit_sums, min(at_once, replicates - start)) for start in starts])


def _draw(rng: np.random.Generator, unit_sums: Matrix, replicates: int) -> Matrix:
    count = len(unit_sums)
    drawn = rng.integers(0, count, size=(replicates, count)) + np.arange(replicates)[:, None] * count
    times = np.bincount(drawn.ravel(), minlength=replicates * count).reshape(replicates, count)
    sums: Matrix = times.astype(np.float64) @ unit_sums
    return sums


def metric_values(metric: Metric, sums: Matrix) -> Matrix:
    """Return the metric of each row of sums, shape ``(rows,)``; NaN where it is not defined."""
    numerator = sums[:, COLUMNS.index(metric.numerator)]
    denominator = sums[:, COLUMNS.index(metric.denominator)]
    values: Matrix = np.full(len(sums), np.nan)
    np.divide(numerator, denominator, out=values, where=denominator > 0)
    return values


def percentile_interval(values: Matrix, units: Units) -> Interval | None:
    """Return the central ``LEVEL`` of the values that are defined, or None when none is."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high), units.kind, units.count)


def bootstrap_intervals(
    samples: Sequence[SampleScore], replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Interval | None]:
    """Return the 95 % percentile interval of every metric by name; None with fewer than ``MIN_UNITS`` units."""
    units = resampling_units(samples)
    if units.count < MIN_UNITS:
        return dict.fromkeys(METRICS)
    sums = resampled_sums(column_matrix(samples), units, replicates, seed)
    return {name: percentile_interval(metric_values(metric, sums), units) for name, metric in METRICS.items()}
