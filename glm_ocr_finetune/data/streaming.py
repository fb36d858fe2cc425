"""``--streaming True``: what is settled from a fixed head of a data set, whose other rows are seen as they come.

The head is the first rows of stretches that lie evenly in the data set. Its samples settle the pixel budget and the
longest sequence; its first ones are evaluated on and, with all rows of the same image or page, never trained on.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..args import DataArguments
from ..argument_checks import HELD_OUT
from ..data_sets import DataSet, data_sets_of
from ..errors import UserError
from ..inputs.prompt import PromptRenderer
from ..readers import load_stream
from ..readers.rows import ReadOptions, counted, store_rows
from ..readers.streams import RowStream, fingerprint, num_rows
from ..training_args import TrainingArguments
from .lengths import Fitted, fit
from .measure import measure
from .prompts import json_prompt
from .sides import Side, keys_of, numbers_of
from .splits import Fitting, Splits, check_data_arguments, default_split, fit_all, nothing_left, with_measures
from .stream import Lane, Stream, in_turn
from .survey import survey

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

HEAD_ROWS = 512
HEAD_STRETCHES = 8


def load_streamed(
    data_args: DataArguments,
    renderer: PromptRenderer,
    training_args: TrainingArguments,
    seed: int,
    evaluate: bool,
    fitting: Fitting | None = None,
) -> Splits:
    """The head of a data set as :class:`Splits`, with the stream of all its rows.

    Raises:
        UserError: there is no such data set, split or column, its format is not streamed, or no row of the head can
            be used.
    """
    check_data_arguments(data_args)
    (data_set,) = data_sets_of(data_args)
    args, prompt = data_set.args, data_set.args.default_prompt
    wanted = training_args.eval_samples or HELD_OUT
    most = max(HEAD_ROWS, 2 * wanted)
    source = _open(args, args.train_split or default_split(data_set.name, args.dataset_config, args.data_format))
    heads = [_head(source, most, args.group_column)]
    if evaluate and args.eval_split:
        heads.append(_head(_open(args, args.eval_split), wanted))
    fitting = fitting or partial(fit, max_length=training_args.max_length)
    (side, *others), fitted = _sides(heads, data_set, prompt, renderer, fitting)
    held, chosen = np.arange(0), np.arange(len(others[0]) if others else 0)
    if evaluate and not others and args.eval_split_size > 0:
        share = round(args.eval_split_size * len(side))
        held, chosen = _held_out(side, min(wanted, max(1, share)) if len(heads[0]) < most else wanted, args)
    splits = _splits(side, np.setdiff1d(np.arange(len(side)), held), (others or [side])[0], chosen, fitted)
    kept_back = [splits.evaluation, side.samples(held)] if splits.evaluation is not None else []
    splits.stream = Stream(
        source=source,
        renderer=renderer,
        default_prompt=prompt,
        max_length=fitted.max_length,
        seed=seed,
        shuffled=training_args.train_sampling_strategy != "sequential",
        held_out=frozenset(key for samples in kept_back for key in samples.with_format(None)["key"]),
        held_groups=frozenset(group for samples in kept_back for group in samples.with_format(None)["group"]) - {None},
        beside=tuple(others[0].set_aside()) if others else (),
    )
    splits.notes += _notes(splits, len(heads[0]), evaluate and args.eval_split_size > 0)
    return splits


def _open(args: DataArguments, split: str) -> RowStream:
    options = ReadOptions(
        args.dataset_config,
        args.image_column,
        args.text_column,
        args.image_folder,
        args.data_format,
        group_column=args.group_column,
    )
    return load_stream(str(args.dataset_name), split=split, options=options)


def _head(source: RowStream, most: int, group_column: str | None = None) -> Dataset:
    """At most so many rows, the first ones of stretches that lie evenly in the data set; kept on disk."""
    cuts = np.linspace(0, len(source.parts), min(HEAD_STRETCHES, len(source.parts)) + 1).astype(int).tolist()
    lanes = [Lane(source.read, source.parts[low:high]) for low, high in zip(cuts, cuts[1:], strict=False)]
    rows = store_rows(islice(in_turn(lanes), most), ("head", fingerprint(source), most), lambda: False)
    if not len(rows):
        raise UserError(f"{source.parts[0].file} holds no rows.")
    if group_column and not any(rows["group"]):
        raise UserError(f"--group_column {group_column}: the data set has no such column with values in it")
    if json_prompt(rows) is not None:
        raise UserError("rows that ask for JSON are not streamed: the fields of all labels would have to be known")
    return rows


def _sides(
    heads: list[Dataset], data_set: DataSet, prompt: str, renderer: PromptRenderer, fitting: Fitting
) -> tuple[list[Side], Fitted]:
    """Each head measured, under the one budget that is settled from all of them."""
    measured = [measure(rows, renderer, prompt) for rows in heads]
    fitted = fit_all(measured, renderer.processor, fitting)
    sides = [
        Side(data_set, with_measures(rows, one), one, survey(one, fitted.budget, fitted.max_length), prompt)
        for rows, one in zip(heads, measured, strict=True)
    ]
    if not len(sides[0]):
        raise UserError(nothing_left(sides[0]))
    return sides, fitted


def _held_out(side: Side, count: int, args: DataArguments) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(held out, evaluated on) among the kept rows: the first ones, and with them all of the same image or group.

    Of groups no more than ``--eval_split_size`` of those in the head are evaluated on.
    """
    (keys,), groups = numbers_of(keys_of([side])), side.groups().to_pylist()
    known = list(dict.fromkeys(group for group in groups if group is not None))
    judged = {None, *known[: max(1, round(args.eval_split_size * len(known)))]}
    chosen = np.array([row for row, group in enumerate(groups) if group in judged][:count], np.int64)
    held = np.flatnonzero(np.isin(keys, keys[chosen]))
    return (held, chosen) if len(held) < len(keys) else (np.arange(0), np.arange(0))


def _splits(side: Side, train: NDArray[np.int64], other: Side, chosen: NDArray[np.int64], fitted: Fitted) -> Splits:
    """The head: what of it is trained on, and what is evaluated on, of its own or of another split."""
    seen, beside = side.survey, other.survey
    return Splits(
        train=side.samples(train),
        evaluation=other.samples(chosen) if len(chosen) else None,
        train_tokens=seen.num_tokens[train],
        evaluation_tokens=beside.num_tokens[chosen],
        train_image_tokens=seen.num_image_tokens[train],
        evaluation_image_tokens=beside.num_image_tokens[chosen],
        fitted=fitted,
        set_aside=side.set_aside(),
    )


def _notes(splits: Splits, head: int, evaluates: bool) -> list[str]:
    """What is said of a stream before the first step."""
    assert splits.stream is not None
    parts, rows = len(splits.stream.source.parts), num_rows(splits.stream.source)
    held = f", {len(splits.evaluation)} of them to evaluate on" if splits.evaluation is not None else ""
    notes = [
        f"a stream of {counted(parts, 'part')}{f' with {rows:,} rows' if rows else ''}: lengths and pixel budget are "
        f"settled from {head} rows of its head{held}; samples that turn out to be longer are set aside"
    ]
    if splits.stream.held_groups:
        notes.append(f"held out: {counted(len(splits.stream.held_groups), 'group')}, of which no sample is trained on")
    if evaluates and splits.evaluation is None:
        notes.append("no evaluation: the head has too few different images or groups, or none that can be used")
    return notes
