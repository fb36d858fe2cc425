"""``--plan 8GB``: what to type for a GPU of that size, counted without loading weights."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from ..args import ModelArguments
from ..data.batching import BatchPlan
from ..model.adapters import check_adapter_arguments
from ..model.parts import PARTS
from ..ranks import console
from ..vision.cache import GIGABYTE
from .memory import Batch, Estimate, Memory, Method, Saving

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.splits import Splits
    from ..parse import Given
    from ..training_args import TrainingArguments


USABLE = 0.9  # of a GPU: the rest is for fragments and for what else is shown on it


@dataclass(frozen=True)
class Candidate:
    """A configuration that could be typed; ``optim`` is None for the default."""

    use_lora: bool
    batch_size: int
    tokens_per_batch: int | None
    accumulation: int
    optim: str | None
    saving: Saving

    def flags(self) -> str:
        """What to type for it."""
        words = ["--use_lora True"] if self.use_lora else []
        words += ["--load_in_4bit True"] if self.saving.load_in_4bit else []
        words += [f"--optim {self.optim}"] if self.optim else []
        words += [f"--gradient_checkpointing {self.saving.gradient_checkpointing}"]
        if self.tokens_per_batch:
            words.append(f"--tokens_per_batch {self.tokens_per_batch}")
        else:
            words.append(f"--per_device_train_batch_size {self.batch_size}")
        return " ".join([*words, f"--gradient_accumulation_steps {self.accumulation}"])


def propose(
    size: int, model_args: ModelArguments, training_args: TrainingArguments, splits: Splits, given: Given, config: Any
) -> None:
    """Print candidates from what is closest to the defaults to what needs least, and mark the first that fits."""
    adapters = model_args.use_lora or given.origin("use_lora") is None
    check_adapter_arguments(
        adapters, model_args.lora_rank, model_args.lora_alpha, model_args.lora_dropout, model_args.load_in_4bit
    )
    estimates = {use_lora: Estimate(config, method_of(model_args, use_lora, on_gpu=True)) for use_lora in (False, True)}
    rows = []
    for candidate in candidates(model_args, training_args, given):
        batch = largest_batch(
            splits.train_tokens,
            splits.train_image_tokens,
            training_args,
            candidate.batch_size,
            candidate.tokens_per_batch,
        )
        rows.append((candidate, batch, estimates[candidate.use_lora].memory(batch, candidate.saving)))
    room = USABLE * size
    chosen = next((candidate for candidate, _, memory in rows if memory.peak <= room), None)
    out = console()
    out.print(candidates_table(rows, chosen, size, model_args.lora_rank))
    out.print(advice(chosen, rows[-1][2], size))


def candidates(model_args: ModelArguments, training_args: TrainingArguments, given: Given) -> list[Candidate]:
    """All that could be typed, in order of preference; what the user gave stays."""

    def open_choices(name: str, value: Any, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return choices if given.origin(name) is None else (value,)

    found = []
    for use_lora in open_choices("use_lora", model_args.use_lora, (False, True)):
        in_4bit_too, in_8bit_too = ((False, True), (None,)) if use_lora else ((False,), (None, "adamw_8bit"))
        ways = itertools.product(
            open_choices("load_in_4bit", model_args.load_in_4bit, in_4bit_too),
            open_choices("optim", optimizer_name(training_args), in_8bit_too),
            open_choices("gradient_checkpointing", training_args.gradient_checkpointing, (False, True)),
        )
        for in_4bit, optim, checkpointing in ways:
            for size, tokens, accumulation in smaller_batches(training_args, halve=checkpointing):
                saving = Saving(in_4bit, "8bit" in str(optim), checkpointing, accumulation > 1)
                found.append(Candidate(use_lora, size, tokens, accumulation, optim, saving))
    return [candidate for candidate in found if candidate.use_lora or not candidate.saving.load_in_4bit]


def optimizer_name(training_args: TrainingArguments) -> str:
    """What ``--optim`` is, as it is typed."""
    return str(getattr(training_args.optim, "value", training_args.optim))


def smaller_batches(training_args: TrainingArguments, halve: bool) -> Iterator[tuple[int, int | None, int]]:
    """Batch size, tokens in a batch and accumulation: as they are, then halved as long as the product stays."""
    size, tokens = training_args.per_device_train_batch_size, training_args.tokens_per_batch
    accumulation = training_args.gradient_accumulation_steps
    yield size, tokens, accumulation
    rest = tokens if tokens else size
    while halve and rest % 2 == 0 and (not tokens or rest // 2 >= (training_args.max_length or rest)):
        rest, accumulation = rest // 2, accumulation * 2
        yield (size, rest, accumulation) if tokens else (rest, None, accumulation)


def candidates_table(
    rows: list[tuple[Candidate, Batch, Memory]], chosen: Candidate | None, size: int, lora_rank: int
) -> Table:
    """One row for each candidate, the chosen one marked: batch x accumulation, and the most tokens at once."""
    table = Table(
        "   configuration",
        title=f"For a GPU of {gigabytes(size)}",
        title_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for column in ("checkpointing", "batch", "tokens", "peak"):
        table.add_column(column, justify="right")
    for candidate, batch, memory in rows:
        saving = candidate.saving
        name = f"LoRA, rank {lora_rank}" if candidate.use_lora else "full"
        name += ", 4-bit" if saving.load_in_4bit else ""
        name += ", 8-bit optim" if saving.eight_bit_optimizer else ""
        table.add_row(
            f"{'->' if candidate is chosen else '':2} {name}",
            "yes" if saving.gradient_checkpointing else "no",
            f"{candidate.tokens_per_batch or candidate.batch_size} x {candidate.accumulation}",
            str(batch.tokens),
            gigabytes(memory.peak),
            style="bold" if candidate is chosen else None,
        )
    return table


def advice(chosen: Candidate | None, least: Memory, size: int) -> str:
    """What to type, or that nothing helps."""
    if chosen:
        return (
            f"The first that fits in {USABLE:.0%} of that is marked ->. Add these flags to your command:\n  {chosen.flags()}\n"
            "Computed from the model's shapes for bf16 autocast, not measured; --plan without a size measures on this machine."
        )
    return (
        f"Nothing fits in {USABLE:.0%} of {gigabytes(size)}: the smallest needs {gigabytes(least.peak)}. "
        "Lower --max_length or --max_pixels, or drop some of the flags you set: each one that is fixed removes options "
        "from the search."
    )


def method_of(model_args: ModelArguments, use_lora: bool, on_gpu: bool) -> Method:
    """What the arguments train, with adapters or without."""
    asked = (model_args.freeze_vision_tower, model_args.freeze_multi_modal_projector, False)
    frozen = tuple(part for part, is_frozen in zip(PARTS, asked, strict=True) if is_frozen)
    rank = model_args.lora_rank if use_lora else None
    return Method(frozen, rank, model_args.lora_target, model_args.lora_dropout, on_gpu)


def saving_of(model_args: ModelArguments, training_args: TrainingArguments) -> Saving:
    """What the arguments do to need less."""
    return Saving(
        load_in_4bit=model_args.load_in_4bit,
        eight_bit_optimizer="8bit" in optimizer_name(training_args),
        gradient_checkpointing=bool(training_args.gradient_checkpointing),
        accumulates=training_args.gradient_accumulation_steps > 1,
    )


def largest_batch(
    lengths: NDArray[np.int32],
    image_tokens: NDArray[np.int32],
    training_args: TrainingArguments,
    batch_size: int,
    tokens_per_batch: int | None,
) -> Batch:
    """The largest batch that can come up: the longest samples together; the few prompt tokens count as labels."""
    if tokens_per_batch:
        asked = copy.copy(training_args)
        asked.tokens_per_batch = tokens_per_batch
        chosen = max(batch_plan(lengths, asked).batches(0), key=lambda batch: int(lengths[batch].sum()))
    else:
        chosen = np.argsort(-lengths, kind="stable")[:batch_size].tolist()
    tokens, images = lengths[chosen], image_tokens[chosen]
    computed = tokens.sum() if training_args.padding_free else tokens.max() * len(tokens)
    return Batch(int(computed), int(images.sum()), int((tokens - images).sum()))


def batch_plan(lengths: np.ndarray, training_args: TrainingArguments) -> BatchPlan:
    """The batches of a run, of all ranks."""
    return BatchPlan(
        lengths,
        training_args.per_device_train_batch_size,
        training_args.tokens_per_batch,
        training_args.train_sampling_strategy == "group_by_length",
        training_args.seed if training_args.data_seed is None else training_args.data_seed,
        epoch=lambda: 0,
        shuffled=training_args.train_sampling_strategy != "sequential",
        drop_last=training_args.dataloader_drop_last,
    )


def gigabytes(size: float) -> str:
    """Bytes in GB; in MB below a tenth of one."""
    return f"{size / GIGABYTE:.3g} GB" if size >= GIGABYTE / 10 else f"{size / 1e6:.3g} MB"
