"""All figures of a set of readings, in one pass, with the summary by prompt and by source."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from .bootstrap import Interval, bootstrap_intervals, metric_values
from .confusion import Confusion, ConfusionCounter, ScriptAccuracy
from .definitions import METRICS
from .normalisation import ScoringSettings
from .reading import Reading
from .samples import SampleScore, column_matrix, measure
from .tables import TableScores, score_tables
from .tasks import is_table

logger = logging.getLogger(__name__)

UNNAMED_GROUP = "(none)"


@dataclass(frozen=True)
class GroupScore:
    """The figures of a set of samples.

    Attributes:
        count: samples in the set.
        values: every metric by name; None where it is not defined (no character in any truth, stopping unknown).
        intervals: 95 % bootstrap interval of every metric; None where there is none.
    """

    count: int
    values: dict[str, float | None]
    intervals: dict[str, Interval | None]


@dataclass(frozen=True)
class Totals:
    """What was counted, so that nothing is hidden behind a rate."""

    characters: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    word_edits: int
    empty_truths: int
    empty_predictions: int
    stop_unknown: int


@dataclass(frozen=True)
class Scores:
    """Everything ``score`` computes; ``to_dict`` gives the part that belongs into ``scores.json``."""

    settings: ScoringSettings
    overall: GroupScore
    totals: Totals
    by_prompt: dict[str, GroupScore]
    by_source: dict[str, GroupScore]
    confusions: tuple[Confusion, ...]
    scripts: tuple[ScriptAccuracy, ...]
    samples: tuple[SampleScore, ...]
    tables: TableScores | None = None

    @property
    def values(self) -> dict[str, float | None]:
        """Every metric of the whole set by name."""
        return self.overall.values

    def to_dict(self, max_confusions: int = 200) -> dict[str, Any]:
        """Return plain lists and dicts for JSON: without the samples, and with the most frequent confusions only."""
        rest = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("samples", "confusions", "scripts", "tables")
        }
        return {
            "scored_with": str(self.settings),
            **{name: _plain(value) for name, value in rest.items()},
            "num_confusions": len(self.confusions),
            "confusions": [dataclasses.asdict(entry) for entry in self.confusions[:max_confusions]],
            "scripts": [{**dataclasses.asdict(entry), "accuracy": entry.accuracy} for entry in self.scripts],
            "tables": self.tables.to_dict() if self.tables else None,
        }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return dataclasses.asdict(value)


def score_with_tables(readings: Sequence[Reading], settings: ScoringSettings | None = None) -> Scores:
    """Score all readings, and compare the tables of those that ask for a table.

    Raises:
        UserError: as :func:`score`.
    """
    asked = [reading for reading in readings if is_table(reading)]
    if not asked:
        return score(readings, settings)
    tables = score_tables(asked, settings)
    logger.info("%d samples ask for a table: %s", len(asked), tables)
    return score(readings, settings, tables=tables)


def score(
    readings: Iterable[Reading],
    settings: ScoringSettings | None = None,
    seed: int = 0,
    tables: TableScores | None = None,
) -> Scores:
    """Score all readings in one pass; ``tables`` is what comparing the tables among them gave.

    Empty truths are counted in ``totals.empty_truths``. In the means such a sample is 0 when it was read as empty and
    1 otherwise; in the corpus rates what was written for it counts as insertions.

    Raises:
        UserError: there are no readings, or an id occurs twice.
    """
    settings = settings or ScoringSettings()
    counter = ConfusionCounter()
    samples = tuple(_measure_all(readings, settings, counter, tables))
    _check_samples(samples)
    return Scores(
        settings=settings,
        overall=_group_score(samples, seed),
        totals=_totals(samples),
        by_prompt=_grouped(samples, lambda reading: reading.prompt, seed),
        by_source=_grouped(samples, lambda reading: reading.source, seed),
        confusions=counter.table(),
        scripts=counter.scripts(),
        samples=samples,
        tables=tables,
    )


def _measure_all(
    readings: Iterable[Reading], settings: ScoringSettings, counter: ConfusionCounter, tables: TableScores | None
) -> Iterable[SampleScore]:
    compared = {table.id: table for table in tables.samples} if tables else {}
    for reading in readings:
        measured = measure(reading, settings, compared.get(reading.id))
        counter.add(reading.id, measured.truth_units, measured.edits)
        yield measured.score


def _check_samples(samples: Sequence[SampleScore]) -> None:
    if not samples:
        raise UserError("there are no readings to score; expected one at least: is the evaluation split empty?")
    name, times = Counter(sample.reading.id for sample in samples).most_common(1)[0]
    if times > 1:
        raise UserError(f"the id {name!r} occurs {times} times among the readings; expected each id once")


def _group_score(samples: Sequence[SampleScore], seed: int) -> GroupScore:
    sums = column_matrix(samples).sum(axis=0, keepdims=True)
    values = {name: float(metric_values(metric, sums)[0]) for name, metric in METRICS.items()}
    defined = {name: None if np.isnan(value) else value for name, value in values.items()}
    return GroupScore(len(samples), defined, bootstrap_intervals(samples, seed=seed))


def _grouped(samples: Sequence[SampleScore], key: Callable[[Reading], str | None], seed: int) -> dict[str, GroupScore]:
    """Score each group, by name; samples without the field are one group, :data:`UNNAMED_GROUP`."""
    groups: dict[str, list[SampleScore]] = {}
    for sample in samples:
        name = key(sample.reading)
        groups.setdefault(UNNAMED_GROUP if name is None else name, []).append(sample)
    return {name: _group_score(groups[name], seed) for name in sorted(groups)}


def _totals(samples: Sequence[SampleScore]) -> Totals:
    return Totals(
        characters=sum(sample.characters for sample in samples),
        substitutions=sum(sample.counts.substitutions for sample in samples),
        deletions=sum(sample.counts.deletions for sample in samples),
        insertions=sum(sample.counts.insertions for sample in samples),
        words=sum(sample.words for sample in samples),
        word_edits=sum(sample.word_edits for sample in samples),
        empty_truths=sum(sample.characters == 0 for sample in samples),
        empty_predictions=sum(sample.prediction_characters == 0 for sample in samples),
        stop_unknown=sum(not sample.stop_known for sample in samples),
    )
