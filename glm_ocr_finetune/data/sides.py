"""One split of one data set: its rows with what was measured of them, and those that are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..data_sets import DataSet
from ..readers.rows import column_of
from .measure import Measured
from .split import joined
from .survey import SetAside, Survey

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, Features
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Side:
    """The samples of one split.

    Attributes:
        rows: the neutral table with ``height``, ``width`` and ``key`` of each image.
        survey: which of the rows are kept, and how long they are.
        prompt: of the rows that have none.
    """

    data_set: DataSet
    rows: Dataset
    measured: Measured
    survey: Survey
    prompt: str

    def __len__(self) -> int:
        return len(self.survey.kept)

    def samples(self, chosen: NDArray[np.int64]) -> Dataset:
        """The samples at these positions among the kept rows."""
        return self.rows.select(self.survey.kept[chosen]).with_transform(partial(_fill_prompt, prompt=self.prompt))

    def groups(self) -> list[str | None]:
        """The group of each kept row; those of two data sets are never the same."""
        groups = column_of(self.rows.select(self.survey.kept), "group").to_pylist()
        return [None if group is None else f"{self.data_set.name}\n{group}" for group in groups]

    def image_keys(self) -> list[bytes]:
        """Equal for kept rows with identical images."""
        return [self.measured.key(row) for row in self.survey.kept.tolist()]

    def sources(self, chosen: NDArray[np.int64]) -> list[str]:
        return list(self.rows.select(self.survey.kept[chosen])["source"])

    def set_aside(self) -> list[SetAside]:
        rejected = dict(sorted(self.survey.rejected.items()))
        sources = self.rows.select(list(rejected))["source"] if rejected else []
        return [SetAside(source, *why) for source, why in zip(sources, rejected.values(), strict=True)]


def count_groups(parts: Sequence[tuple[Side, NDArray[np.int64]]]) -> int:
    """Different groups among some of the kept rows of each side."""
    import pyarrow.compute as pc

    columns = [column_of(side.rows.select(side.survey.kept[chosen]), "group") for side, chosen in parts]
    return sum(int(pc.count_distinct(column).as_py()) for column in columns)


def keys_of(sides: Sequence[Side]) -> list[list[bytes]]:
    """For each side a key a kept row: equal, over all sides, for rows with identical images or of one group."""
    groups = [group for side in sides for group in side.groups()]
    keys = iter(joined([key for side in sides for key in side.image_keys()], groups))
    return [[next(keys) for _ in range(len(side))] for side in sides]


def concatenated(parts: Sequence[Dataset]) -> Dataset:
    """Samples of all parts, with the columns' types and the transform of the first."""
    from datasets import concatenate_datasets

    first, *others = parts
    if not others:
        return first
    plain = [first.with_format(None), *(_like(one.with_format(None), first.features) for one in others)]
    return concatenate_datasets(plain).with_transform(first.format["format_kwargs"]["transform"])


def _like(samples: Dataset, features: Features) -> Dataset:
    return samples if samples.features == features else samples.cast(features)


def _fill_prompt(batch: Mapping[str, Sequence[Any]], prompt: str) -> dict[str, Any]:
    return {**batch, "prompt": [own or prompt for own in batch["prompt"]]}
