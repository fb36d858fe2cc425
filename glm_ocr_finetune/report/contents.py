"""What a page is made of: the scores of its readers, what is known of the run, and where the pictures lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..metrics import Comparison, Scores, ScoringSettings
from ..metrics.samples import SampleScore
from .run_files import RunFacts


@dataclass(frozen=True)
class System:
    """One reader: ``key`` is its CSS class, ``name`` what the page calls it."""

    key: str
    name: str
    scores: Scores


@dataclass(frozen=True)
class Report:
    """What a page is made of; the last system is the one that is judged. A run without an evaluation has none."""

    systems: Sequence[System]
    comparison: Comparison | None
    facts: RunFacts
    folder: Path
    max_samples: int

    @property
    def judged(self) -> Scores:
        return self.systems[-1].scores

    @property
    def settings(self) -> ScoringSettings:
        return self.judged.settings if self.systems else ScoringSettings()

    @cached_property
    def paired(self) -> list[list[SampleScore]]:
        """The samples of each system, all in the order of the judged one."""
        ids = [sample.reading.id for sample in self.judged.samples]
        by_id = [{sample.reading.id: sample for sample in system.scores.samples} for system in self.systems]
        return [[samples[name] for name in ids] for samples in by_id]
