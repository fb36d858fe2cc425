"""From rows to samples: what is trained on, what is shrunk, what is set aside and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..args import DEFAULT_PROMPT, DataArguments
from ..errors import UserError
from ..inputs.prompt import PromptRenderer, messages_for
from ..readers import list_splits, load_rows
from ..readers.columns import TEXT_COLUMNS
from .split import split_rows
from .survey import SetAside, Survey, survey

if TYPE_CHECKING:
    from datasets import Dataset

SET_ASIDE_FILE = "set_aside.jsonl"


def format_for_vlm(sample: Mapping[str, Any], prompt: str = DEFAULT_PROMPT) -> dict[str, Any]:
    """A row with an image and a transcription in TRL's prompt/completion form.

    Args:
        sample: a row with ``image`` and ``label``, ``text`` or ``ground_truth`` (others in
            ``readers.columns.TEXT_COLUMNS``); its own ``prompt`` wins over the argument.

    Returns:
        ``images`` (a list of one image as found), ``prompt`` and ``completion`` (one chat message each), and
        ``source`` where the row has one.

    Raises:
        UserError: no image or no transcription is there. A label of 0 or "0" is a transcription.
    """
    label = next((sample[name] for name in TEXT_COLUMNS if sample.get(name) is not None), None)
    if label is None or sample.get("image") is None:
        raise UserError(f"a sample needs 'image' and one of {', '.join(TEXT_COLUMNS)}; found: {', '.join(sample)}")
    row = {
        "images": [sample["image"]],
        "prompt": messages_for(sample.get("prompt") or prompt),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": str(label)}]}],
    }
    return row | ({"source": sample["source"]} if "source" in sample else {})


def _format_batch(batch: Mapping[str, Sequence[Any]], prompt: str) -> dict[str, list[Any]]:
    rows = [
        format_for_vlm({name: values[i] for name, values in batch.items()}, prompt) for i in range(len(batch["image"]))
    ]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


@dataclass
class Splits:
    """Training and evaluation samples in the form of :func:`format_for_vlm`, lazily decoded.

    Attributes:
        train_tokens, evaluation_tokens: sequence length of each sample, int32.
        train_image_tokens, evaluation_image_tokens: how many of them are image tokens, int32.
    """

    train: Dataset
    evaluation: Dataset | None
    train_tokens: np.ndarray
    evaluation_tokens: np.ndarray
    train_image_tokens: np.ndarray
    evaluation_image_tokens: np.ndarray
    num_shrunk: int
    longest_unshrunk: int
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def set_aside_by_reason(self) -> dict[str, int]:
        return dict(Counter(row.reason for row in self.set_aside).most_common())

    def write_set_aside(self, directory: str | Path) -> Path | None:
        """List the rows set aside in ``set_aside.jsonl``; None, and no file, when there are none."""
        if not self.set_aside:
            return None
        file = Path(directory) / SET_ASIDE_FILE
        file.write_text("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.set_aside))
        return file


def load_splits(
    data_args: DataArguments, renderer: PromptRenderer, max_length: int | None, seed: int, evaluate: bool = True
) -> Splits:
    """Read the data set, survey it, and split it.

    Raises:
        UserError: there is no such data set, split or column, or no sample is left.
    """
    if not data_args.dataset_name:
        raise UserError("--dataset_name is required: a hub id, a folder or a file")
    if data_args.max_samples is not None and data_args.max_samples < 1:
        raise UserError(f"--max_samples is {data_args.max_samples}; it must be at least 1")
    if not 0 <= data_args.eval_split_size < 1:
        raise UserError(f"--eval_split_size is {data_args.eval_split_size}; it is a share from 0 to below 1")
    looks = partial(survey, renderer=renderer, max_length=max_length, default_prompt=data_args.default_prompt)
    rows = _rows(data_args, data_args.train_split)
    automatic = evaluate and data_args.eval_split is None and data_args.eval_split_size > 0
    seen = looks(rows, with_keys=automatic)
    if not len(seen.kept):
        raise UserError(_nothing_left(data_args, seen))
    train, held_out, notes = np.arange(len(seen.kept)), np.arange(0), []
    if automatic:
        train, held_out = split_rows(seen.keys, data_args.eval_split_size, seed)
        if not len(held_out):
            notes.append("no evaluation: too few different images to hold any back (--eval_split_size)")
    formatted = partial(_formatted, prompt=data_args.default_prompt)
    splits = Splits(
        train=formatted(rows, seen.kept[train]),
        evaluation=formatted(rows, seen.kept[held_out]) if len(held_out) else None,
        train_tokens=seen.num_tokens[train],
        evaluation_tokens=seen.num_tokens[held_out],
        train_image_tokens=seen.num_image_tokens[train],
        evaluation_image_tokens=seen.num_image_tokens[held_out],
        num_shrunk=int(seen.shrunk.sum()),
        longest_unshrunk=seen.longest_unshrunk,
        set_aside=seen.set_aside,
        notes=notes,
    )
    if evaluate and data_args.eval_split is not None:
        _add_eval_split(splits, _rows(data_args, data_args.eval_split), looks, formatted)
    if data_args.replay_dataset:
        _mix_in_replay(splits, data_args, renderer, max_length, seed)
    return splits


def load_other(data_args: DataArguments, dataset_name: str, renderer: PromptRenderer, max_length: int | None) -> Splits:
    """The samples of another data set (a probe, a replay), with columns of its own: its test split, else another."""
    other = DataArguments(dataset_name=dataset_name, train_split=default_split(dataset_name), prompt=data_args.prompt)
    return load_splits(other, renderer, max_length, seed=0, evaluate=False)


def default_split(dataset_name: str, config: str | None = None) -> str:
    """The split to read when none is named: test, else validation, else the first."""
    splits = list_splits(dataset_name, config)
    return next((name for name in ("test", "validation") if name in splits), splits[0])


def _mix_in_replay(
    splits: Splits, data_args: DataArguments, renderer: PromptRenderer, max_length: int | None, seed: int
) -> None:
    """Add ``replay_ratio`` samples of the replay data set for each training sample, repeated where they are too few."""
    if data_args.replay_ratio <= 0:
        raise UserError(f"--replay_ratio is {data_args.replay_ratio}; it must be above 0 (or no --replay_dataset)")
    name = str(data_args.replay_dataset)
    trained = "train" if "train" in list_splits(name) else list_splits(name)[0]
    replay_args = DataArguments(dataset_name=name, train_split=trained, prompt=data_args.prompt)
    replay = load_splits(replay_args, renderer, max_length, seed, evaluate=False)
    wanted = max(1, round(data_args.replay_ratio * len(splits.train)))
    drawn = np.resize(np.random.default_rng(seed).permutation(len(replay.train)), wanted)
    mixed = concatenate(splits.train, replay.train.select(drawn))
    splits.train = mixed.with_transform(partial(_format_batch, prompt=data_args.default_prompt))
    splits.train_tokens = np.concatenate([splits.train_tokens, replay.train_tokens[drawn]])
    splits.train_image_tokens = np.concatenate([splits.train_image_tokens, replay.train_image_tokens[drawn]])
    splits.set_aside += replay.set_aside
    splits.notes.append(f"{wanted} samples of {name} are mixed in (--replay_ratio {data_args.replay_ratio:g})")


def concatenate(first: Dataset, second: Dataset) -> Dataset:
    """Rows of both, with the columns' types of the first."""
    from datasets import concatenate_datasets

    return concatenate_datasets([first.with_format(None), second.with_format(None).cast(first.features)])


def _add_eval_split(splits: Splits, rows: Dataset, looks: Any, formatted: Any) -> None:
    seen = looks(rows)
    splits.evaluation = formatted(rows, seen.kept) if len(seen.kept) else None
    splits.evaluation_tokens, splits.evaluation_image_tokens = seen.num_tokens, seen.num_image_tokens
    splits.num_shrunk += int(seen.shrunk.sum())
    splits.longest_unshrunk = max(splits.longest_unshrunk, seen.longest_unshrunk)
    splits.set_aside += seen.set_aside
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
    )
    return rows.select(range(min(len(rows), data_args.max_samples))) if data_args.max_samples else rows


def _formatted(rows: Dataset, indices: np.ndarray, prompt: str) -> Dataset:
    return rows.select(indices).with_transform(partial(_format_batch, prompt=prompt))


def _nothing_left(data_args: DataArguments, seen: Survey) -> str:
    counts = Counter(row.reason for row in seen.set_aside)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    first = seen.set_aside[0] if seen.set_aside else None
    example = f"; the first is {first.source} {first.detail}".rstrip() if first else ""
    return f"no sample of {data_args.dataset_name} (split {data_args.train_split}) can be used: {reasons}{example}"
