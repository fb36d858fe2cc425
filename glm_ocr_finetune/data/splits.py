"""From data sets to training and evaluation samples: read, measured, fitted, split, mixed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..args import JSON_PROMPT, DataArguments
from ..data_sets import DataSet, data_sets_of
from ..errors import UserError
from ..folders import SET_ASIDE_FILE
from ..inputs.processor import PixelBudget, set_pixel_budget
from ..inputs.prompt import PromptRenderer
from ..readers import list_splits, load_rows, local_path
from ..readers.rows import column_of, counted, with_column
from .lengths import Fitted, Shapes, fit
from .measure import Measured, measure
from .mixture import described, divide, draw, leaks
from .prompts import json_prompt, with_json_prompt, with_prompt
from .sides import Side, concatenated, count_groups
from .survey import SetAside, shapes_of, survey

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
        groups: pages, documents or hands that the samples of each side are from, as far as they are known.
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
    groups: tuple[int, int] = (0, 0)
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stream: Stream | None = None

    def groups_in_words(self) -> str:
        """How many pages or other groups the samples are of; nothing where no group is known."""
        if not any(self.groups):
            return ""
        return f"; of {self.groups[0]:,} and {self.groups[1]:,} groups"

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
    sets = [*data_sets_of(data_args), *_replay_of(data_args)]
    own_split = [one for one in sets if evaluate and one.args.eval_split is not None and not one.is_replay]
    tables = _read_all(sets, own_split, data_args.default_prompt)
    measured = [measure(rows, renderer, data_args.default_prompt) for rows in tables]
    fitted = fit_all(
        [one for one, of in zip(measured, [*sets, *own_split], strict=True) if not of.is_replay],
        renderer.processor,
        fitting or partial(fit, max_length=max_length),
    )
    sides = [
        Side(of, with_measures(rows, one), one, survey(one, fitted.budget, fitted.max_length), data_args.default_prompt)
        for of, rows, one in zip([*sets, *own_split], tables, measured, strict=True)
    ]
    _refuse_empty(sides[: len(sets)])
    notes = [note for one in sets if evaluate and not one.is_replay for note in unused_splits(one.args)]
    return _divided(sides[: len(sets)], sides[len(sets) :], fitted, notes, seed, data_args if evaluate else None)


def _divided(
    trained: Sequence[Side],
    judged: Sequence[Side],
    fitted: Fitted,
    notes: list[str],
    seed: int,
    data_args: DataArguments | None,
) -> Splits:
    """What is trained and what is evaluated on.

    Args:
        judged: splits that are evaluated on whole.
        data_args: None where nothing is evaluated on.
    """
    available, held = divide(trained, data_args.eval_split_size if data_args else 0.0, seed)
    drawn = draw(trained, available, seed)
    evaluated = [(side, out) for side, out in zip(trained, held, strict=True) if len(out)]
    evaluated += [(side, np.arange(len(side))) for side in judged if len(side)]
    notes = [*described(trained, drawn), *notes, *_without_evaluation(trained, judged, evaluated, data_args)]
    if evaluated and judged:
        told = leaks(trained, drawn, [side for side, _ in evaluated], [some for _, some in evaluated])
        notes += [told] if told else []
    to_train = list(zip(trained, drawn, strict=True))
    groups = count_groups(to_train), count_groups(evaluated)
    if evaluated and groups[0] and not groups[1]:
        notes.append(f"nothing of the {counted(groups[0], 'group')} is evaluated on: only rows without a group are")
    return Splits(
        train=concatenated([side.samples(some) for side, some in to_train]),
        evaluation=concatenated([side.samples(some) for side, some in evaluated]) if evaluated else None,
        train_tokens=_joined([side.survey.num_tokens[some] for side, some in to_train]),
        evaluation_tokens=_joined([side.survey.num_tokens[some] for side, some in evaluated]),
        train_image_tokens=_joined([side.survey.num_image_tokens[some] for side, some in to_train]),
        evaluation_image_tokens=_joined([side.survey.num_image_tokens[some] for side, some in evaluated]),
        fitted=fitted,
        groups=groups,
        set_aside=[row for side in (*trained, *judged) for row in side.set_aside()],
        notes=notes,
    )


def _without_evaluation(
    trained: Sequence[Side],
    judged: Sequence[Side],
    evaluated: Sequence[tuple[Side, NDArray[np.int64]]],
    data_args: DataArguments | None,
) -> list[str]:
    """Why nothing is evaluated on, where something was to be."""
    if evaluated or data_args is None:
        return []
    if judged:
        return ["no evaluation: every row of the evaluation split was set aside"]
    if data_args.eval_split_size > 0:
        return ["no evaluation: too few different images or pages to hold any back (--eval_split_size)"]
    return []


def _joined(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def unused_splits(data_args: DataArguments) -> list[str]:
    """A line on the splits of a local data set that could be evaluated on, where none is named."""
    if data_args.eval_split is not None or local_path(str(data_args.dataset_name)) is None:
        return []
    names = list_splits(str(data_args.dataset_name), data_args.dataset_config, data_args.data_format)
    others = [name for name in names if name not in str(data_args.train_split)]
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
    if data_args.prompt is not None and data_args.task is not None:
        raise UserError("--prompt and --task exclude each other: --task stands for a prompt; give one of them")
    if data_args.replay_dataset and data_args.replay_ratio <= 0:
        raise UserError(f"--replay_ratio is {data_args.replay_ratio}; it must be above 0 (or no --replay_dataset)")


def load_other(data_args: DataArguments, dataset_name: str, renderer: PromptRenderer) -> Splits:
    """The samples of another data set, such as a probe, with columns of its own: its test split, else another."""
    other = DataArguments(dataset_name=dataset_name, train_split=None, prompt=data_args.prompt)
    return load_splits(other, renderer, None, seed=0, evaluate=False)


def default_split(dataset_name: str, config: str | None = None, data_format: str | None = None) -> str:
    """The split to read when none is named: test, else validation, else the first."""
    splits = list_splits(dataset_name, config, data_format)
    return next((name for name in ("test", "validation") if name in splits), splits[0])


def _replay_of(data_args: DataArguments) -> list[DataSet]:
    """``--replay_dataset`` as one more data set, whose share is of all others together."""
    if not data_args.replay_dataset:
        return []
    name = data_args.replay_dataset
    splits = list_splits(name)
    split = "train" if "train" in splits else splits[0]
    other = DataArguments(dataset_name=name, train_split=split, prompt=data_args.prompt)
    return [DataSet(other, data_args.replay_ratio, is_replay=True)]


def _read_all(sets: Sequence[DataSet], own_split: Sequence[DataSet], default_prompt: str) -> list[Dataset]:
    """The rows to train on of each data set, then those to evaluate on; a set asks both for the same JSON."""
    tables = [_rows(one, one.args.train_split, default_prompt) for one in sets]
    prompts = [json_prompt(rows) for rows in tables]
    others = [_rows(one, one.args.eval_split, default_prompt) for one in own_split]
    prompts += [prompts[sets.index(one)] for one in own_split]
    whole = [with_json_prompt(rows, prompt) for rows, prompt in zip([*tables, *others], prompts, strict=True)]
    names = _distinct([one.name for one in sets])
    of = [*range(len(sets)), *(sets.index(one) for one in own_split)]
    return whole if len(sets) == 1 else [_named(rows, names[index]) for rows, index in zip(whole, of, strict=True)]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of data sets, with a number where one comes again."""
    return [name if name not in names[:index] else f"{name} ({index + 1})" for index, name in enumerate(names)]


def _named(rows: Dataset, name: str) -> Dataset:
    """The rows with sources that tell the data set too."""
    import pyarrow.compute as pc

    return with_column(rows, "source", pc.binary_join_element_wise(name, column_of(rows, "source"), "/"))


def _rows(one: DataSet, split: str | None, default_prompt: str) -> Dataset:
    args = one.args
    rows = load_rows(
        one.name,
        split=split or default_split(one.name, args.dataset_config, args.data_format),
        config=args.dataset_config,
        image_column=args.image_column,
        text_column=args.text_column,
        image_folder=args.image_folder,
        data_format=args.data_format,
        level=args.level,
        group_column=args.group_column,
    )
    rows = rows.select(range(min(len(rows), args.max_samples))) if args.max_samples else rows
    own = args.default_prompt
    return rows if own == default_prompt != JSON_PROMPT else with_prompt(rows, own)


def with_measures(rows: Dataset, measured: Measured) -> Dataset:
    """The rows with ``height``, ``width`` and ``key`` beside them."""
    import pyarrow as pa
    from datasets import Dataset, concatenate_datasets

    size = measured.keys.shape[1]
    keys = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(size), len(measured.keys), [None, pa.py_buffer(measured.keys)]
    )
    columns = {"height": measured.heights, "width": measured.widths, "key": keys.cast(pa.binary())}
    return concatenate_datasets([rows, Dataset(pa.table(columns))], axis=1)


def _refuse_empty(sides: Sequence[Side]) -> None:
    for side in sides:
        if not len(side):
            raise UserError(nothing_left(side))


def nothing_left(side: Side) -> str:
    """That no sample of a side can be used, and why."""
    set_aside = side.set_aside()
    counts = Counter(row.reason for row in set_aside)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    example = f"; the first is {set_aside[0].source} {set_aside[0].detail}".rstrip() if set_aside else ""
    split = side.data_set.args.train_split
    where = f" (split {split})" if split else ""
    return f"no sample of {side.data_set.name}{where} can be used: {reasons}{example}"
