"""What a rank's data loaders hand out: each sample once over all ranks, and nothing where another rank has one more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_utils import seed_worker

from ..data.batching import BatchPlan

if TYPE_CHECKING:
    from datasets import Dataset

    from ..training_args import TrainingArguments


@dataclass(frozen=True)
class Samples(torch.utils.data.Dataset[Any]):
    """Samples by lists of their numbers; no numbers give no samples, of which a collator makes a batch that weighs nothing."""

    rows: Dataset

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, numbers: list[int]) -> list[Any]:
        return list(self.rows.__getitems__(numbers)) if numbers else []


@dataclass(frozen=True)
class EachOnce:
    """The batches of a plan, with an empty one where the plan repeats a batch so that all ranks make as many steps."""

    plan: BatchPlan

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[int]]:
        batches = list(self.plan)
        return iter([*batches[:-1], []] if self.plan.ends_with_a_repeat else batches)


def in_order(num_samples: int, batch_size: int, rank: int, num_ranks: int) -> Sequence[list[int]]:
    """The batches of one rank in an evaluation: every ``num_ranks``-th, and empty ones up to the number of the others."""
    numbers = range(num_samples)
    batches = [list(numbers[start : start + batch_size]) for start in numbers[::batch_size]]
    batches += [[]] * (-len(batches) % num_ranks)
    return batches[rank::num_ranks]


def numbers_of_step(plan: BatchPlan, accumulation: int, step: int) -> list[int]:
    """The samples of an optimizer step, counted from 1, on all ranks."""
    epoch, step_of_epoch = divmod(step - 1, -(-len(plan) // accumulation))
    size = accumulation * plan.num_ranks
    return list(chain(*plan.batches(epoch)[step_of_epoch * size : (step_of_epoch + 1) * size]))


def samples_of_step(trainer: Any) -> Dataset | None:
    """The samples of the optimizer step that was made last, on all ranks; None where they are not at hand, as of a stream."""
    if trainer.stream or not hasattr(trainer.train_dataset, "select"):
        return None
    step = trainer.state.global_step
    numbers = numbers_of_step(trainer.batch_plan(), trainer.args.gradient_accumulation_steps, step)
    samples: Dataset = trainer.train_dataset.select(numbers)
    return samples


def rows_of_step(trainer: Any) -> list[str]:
    """Sources of the samples of the optimizer step that was made last, on all ranks; none where they are not known.

    Of a stream those of this rank.
    """
    if trainer.stream:
        return [source for sources in trainer.stream.recent for source in sources]
    samples = samples_of_step(trainer)
    return [str(sample.get("source", "a sample")) for sample in samples] if samples is not None else []


def load_batches(
    dataset: Dataset, batches: Iterable[list[int]], collator: Any, args: TrainingArguments, persistent: bool
) -> torch.utils.data.DataLoader[Any]:
    """Batches of samples by their numbers, made as the arguments say."""
    workers = int(args.dataloader_num_workers or 0)
    return torch.utils.data.DataLoader(
        Samples(dataset),
        batch_sampler=batches,
        collate_fn=collator,
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=persistent,
        prefetch_factor=args.dataloader_prefetch_factor,
        multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None) if workers else None,
        in_order=getattr(args, "dataloader_in_order", True),
        worker_init_fn=partial(seed_worker, num_workers=workers, rank=args.process_index),
    )
