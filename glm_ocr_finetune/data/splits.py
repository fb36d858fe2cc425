"""From a data set to training and evaluation samples: read, measured, fitted, split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..args import DataArguments
from ..errors import UserError
from ..folders import SET_ASIDE_FILE
from ..inputs.processor import PixelBudget, set_pixel_budget
from ..inputs.prompt import PromptRenderer
from ..readers import list_splits, load_rows, local_path
from .lengths import Fitted, Shapes, fit
from .measure import Measured, measure
from .split import joined, split_rows
from .survey import SetAside, Survey, shapes_of, survey

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray
    from transformers import Glm46VProcessor

    from .stream import Stream

Fitting = Callable[[Shapes, PixelBudget], Fitted]


@dataclass
class Splits:
    """Training and evaluation samples as :func:`~.samples.sample_of` takes them, their images still encoded.

    Attributes:
        train_tokens, evaluation_tokens: sequence length of each sample, int32.
        train_image_tokens, evaluation_image_tokens: how many of them are image tokens, int32.
        fitted: the pixel budget and the longest sequence that all of them are under.
        stream: what is trained on with ``--streaming True``; ``train`` is then the part of its head that is not
            evaluated on.
    """

    train: Dataset
    evaluation: Dataset | None
    train_tokens: NDArray[np.int32]
    evaluation_tokens: NDArray[np.int32]
    train_image_tokens: NDArray[np.int32]
    evaluation_image_tokens: NDArray[np.int32]
    fitted: Fitted
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stream: Stream | None = None

    def set_aside_by_reason(self) -> dict[str, int]:
        return dict(Counter(row.reason for row in self.set_aside).most_common())

    def write_set_aside(self, directory: str | Path) -> Path | None:
        """List the rows set aside in ``set_aside.jsonl``; None, and no file, when there are none."""
        if not self.set_aside:
            return None
        file = Path(directory) / SET_ASIDE_FILE
        lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.set_aside)
        file.write_text("".join(lines), encoding="utf-8")
        return file


@dataclass(frozen=True)
class Side:
    """The samples of one split: all rows with what was measured of them, and those that are used."""

    rows: Dataset
    measured: Measured
    survey: Survey
    prompt: str

    def samples(self, chosen: NDArray[np.int64]) -> Dataset:
        """The samples at these positions among the kept rows."""
        return self.rows.select(self.survey.kept[chosen]).with_transform(partial(_fill_prompt, prompt=self.prompt))

    def keys(self) -> list[bytes]:
        """Equal for kept rows that belong on one side: with identical images, or cut from one page or document."""
        groups = self.rows.select(self.survey.kept)["group"]
        return joined([self.measured.key(row) for row in self.survey.kept.tolist()], list(groups))

    def set_aside(self) -> list[SetAside]:
        rejected = dict(sorted(self.survey.rejected.items()))
        sources = self.rows.select(list(rejected))["source"] if rejected else []
        return [SetAside(source, *why) for source, why in zip(sources, rejected.values(), strict=True)]


def load_splits(
    data_args: DataArguments,
    renderer: PromptRenderer,
    max_length: int | None,
    seed: int,
    evaluate: bool = True,
    fitting: Fitting | None = None,
) -> Splits:
    """Read the data set, measure it, fit it, and split it.

    Args:
        renderer: the pixel budget of its processor is lowered where the samples would be too long.
        fitting: settles budget and longest sequence from what was measured; by default samples are fitted to
            ``max_length``.

    Raises:
        UserError: there is no such data set, split or column, or no sample is left.
    """
    check_data_arguments(data_args)
    names = [data_args.train_split, *([data_args.eval_split] if evaluate and data_args.eval_split else [])]
    tables = [_rows(data_args, name) for name in names]
    measured = [measure(rows, renderer, data_args.default_prompt) for rows in tables]
    fitted = fit_all(measured, renderer.processor, fitting or partial(fit, max_length=max_length))
    side, *others = (
        Side(with_measures(rows, one), one, survey(one, fitted.budget, fitted.max_length), data_args.default_prompt)
        for rows, one in zip(tables, measured, strict=True)
    )
    seen, set_aside = side.survey, side.set_aside()
    if not len(seen.kept):
        raise UserError(nothing_left(data_args, set_aside))
    train, held_out, notes = np.arange(len(seen.kept)), np.arange(0), unused_splits(data_args) if evaluate else []
    if evaluate and data_args.eval_split is None and data_args.eval_split_size > 0:
        train, held_out = split_rows(side.keys(), data_args.eval_split_size, seed)
        if not len(held_out):
            notes.append("no evaluation: too few different images or pages to hold any back (--eval_split_size)")
    splits = Splits(
        train=side.samples(train),
        evaluation=side.samples(held_out) if len(held_out) else None,
        train_tokens=seen.num_tokens[train],
        evaluation_tokens=seen.num_tokens[held_out],
        train_image_tokens=seen.num_image_tokens[train],
        evaluation_image_tokens=seen.num_image_tokens[held_out],
        fitted=fitted,
        set_aside=set_aside,
        notes=notes,
    )
    for other in others:
        _add_eval_split(splits, other)
    if data_args.replay_dataset:
        _mix_in_replay(splits, data_args, renderer, seed)
    return splits


def unused_splits(data_args: DataArguments) -> list[str]:
    """A line on the splits of a local data set that could be evaluated on, where none is named."""
    if data_args.eval_split is not None or local_path(str(data_args.dataset_name)) is None:
        return []
    names = list_splits(str(data_args.dataset_name), data_args.dataset_config, data_args.data_format)
    others = [name for name in names if name not in data_args.train_split]
    if not others:
        return []
    return [f"the data set also has the split {', '.join(others)}; to evaluate on it: --eval_split {others[-1]}"]


def fit_all(measured: Sequence[Measured], processor: Glm46VProcessor, fitting: Fitting) -> Fitted:
    """One budget and one longest sequence for the samples of all splits, set in the processor."""
    fitted = fitting(Shapes.joined([shapes_of(one) for one in measured]), PixelBudget.of(processor))
    set_pixel_budget(processor, fitted.budget.min_pixels, fitted.budget.max_pixels)
    return fitted


def check_data_arguments(data_args: DataArguments) -> None:
    """Raise UserError for data arguments that cannot work whatever the data is."""
    if not data_args.dataset_name:
        raise UserError("--dataset_name is required: a hub id, a folder or a file")
    if data_args.max_samples is not None and data_args.max_samples < 1:
        raise UserError(f"--max_samples is {data_args.max_samples}; it must be at least 1")
    if not 0 <= data_args.eval_split_size < 1:
        raise UserError(f"--eval_split_size is {data_args.eval_split_size}; it is a share from 0 to below 1")
    if data_args.replay_dataset and data_args.replay_ratio <= 0:
        raise UserError(f"--replay_ratio is {data_args.replay_ratio}; it must be above 0 (or no --replay_dataset)")


def load_other(data_args: DataArguments, dataset_name: str, renderer: PromptRenderer, max_length: int | None) -> Splits:
    """The samples of another data set (a probe, a replay), with columns of its own: its test split, else another."""
    other = DataArguments(
        dataset_name=dataset_name, train_split=default_split(dataset_name), prompt=data_args.default_prompt
    )
    return load_splits(other, renderer, max_length, seed=0, evaluate=False)


def default_split(dataset_name: str, config: str | None = None, data_format: str | None = None) -> str:
    """The split to read when none is named: test, else validation, else the first."""
    splits = list_splits(dataset_name, config, data_format)
    return next((name for name in ("test", "validation") if name in splits), splits[0])


def _mix_in_replay(splits: Splits, data_args: DataArguments, renderer: PromptRenderer, seed: int) -> None:
    """Add ``replay_ratio`` samples of the replay data set for each training sample, repeated where they are too few."""
    name = str(data_args.replay_dataset)
    trained = "train" if "train" in list_splits(name) else list_splits(name)[0]
    replay_args = DataArguments(dataset_name=name, train_split=trained, prompt=data_args.default_prompt)
    as_it_is = partial(fit, max_length=splits.fitted.max_length, may_lower=False)
    replay = load_splits(replay_args, renderer, None, seed, evaluate=False, fitting=as_it_is)
    wanted = max(1, round(data_args.replay_ratio * len(splits.train)))
    drawn = np.resize(np.random.default_rng(seed).permutation(len(replay.train)), wanted)
    splits.train = concatenate(splits.train, replay.train.select(drawn))
    splits.train_tokens = np.concatenate([splits.train_tokens, replay.train_tokens[drawn]])
    splits.train_image_tokens = np.concatenate([splits.train_image_tokens, replay.train_image_tokens[drawn]])
    splits.set_aside += replay.set_aside
    splits.notes.append(f"{wanted} samples of {name} are mixed in (--replay_ratio {data_args.replay_ratio:g})")


def concatenate(first: Dataset, second: Dataset) -> Dataset:
    """Samples of both, with the columns' types of the first and the transform of the first."""
    from datasets import concatenate_datasets

    joined = concatenate_datasets([first.with_format(None), second.with_format(None).cast(first.features)])
    return joined.with_transform(first.format["format_kwargs"]["transform"])


def _add_eval_split(splits: Splits, side: Side) -> None:
    seen = side.survey
    splits.evaluation = side.samples(np.arange(len(seen.kept))) if len(seen.kept) else None
    splits.evaluation_tokens, splits.evaluation_image_tokens = seen.num_tokens, seen.num_image_tokens
    splits.set_aside += side.set_aside()
    if not len(seen.kept):
        splits.notes.append("no evaluation: every row of the evaluation split was set aside")


def _rows(data_args: DataArguments, split: str) -> Dataset:
    rows = load_rows(
        str(data_args.dataset_name),
        split=split,
        config=data_args.dataset_config,
        image_column=data_args.image_column,
        text_column=data_args.text_column,
        image_folder=data_args.image_folder,
        data_format=data_args.data_format,
        level=data_args.level,
    )
    return rows.select(range(min(len(rows), data_args.max_samples))) if data_args.max_samples else rows


def with_measures(rows: Dataset, measured: Measured) -> Dataset:
    """The rows with ``height``, ``width`` and ``key`` beside them."""
    from datasets import Dataset, Features, Value, concatenate_datasets

    columns = {
        "height": measured.heights,
        "width": measured.widths,
        "key": [measured.key(row) for row in range(len(measured.heights))],
    }
    features = Features({"height": Value("int32"), "width": Value("int32"), "key": Value("binary")})
    return concatenate_datasets([rows, Dataset.from_dict(columns, features)], axis=1)


def _fill_prompt(batch: Mapping[str, Sequence[Any]], prompt: str) -> dict[str, Any]:
    return {**batch, "prompt": [own or prompt for own in batch["prompt"]]}


def nothing_left(data_args: DataArguments, set_aside: Sequence[SetAside]) -> str:
    counts = Counter(row.reason for row in set_aside)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    first = set_aside[0] if set_aside else None
    example = f"; the first is {first.source} {first.detail}".rstrip() if first else ""
    return f"no sample of {data_args.dataset_name} (split {data_args.train_split}) can be used: {reasons}{example}"
