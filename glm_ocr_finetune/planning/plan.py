"""``--plan``: the memory and time that a run would take. ``--plan 8GB``: what to type for a GPU of that size."""

from __future__ import annotations

import copy
import itertools
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback

from ..args import ModelArguments
from ..data.batching import BatchPlan
from ..errors import UserError
from ..model.loading import PARTS, check_adapter_arguments, load_config, resolve_model_path
from ..training.cache_choice import decide, feature_bytes
from ..vision.cache import GIGABYTE, MemoryStore, VisionCache
from ..vision.encoder import backbone_of
from .memory import Batch, Estimate, Memory, Method, Saving

if TYPE_CHECKING:
    from ..data.collate import VLMDataCollator
    from ..data.splits import Splits
    from ..parse import Given
    from ..training_args import TrainingArguments

USABLE = 0.9  # of a GPU: the rest is for fragments and for what else is shown on it
MEASURED_BATCHES = 4  # the first of them warms up and is not counted
UNITS = {"gb": 10**9, "gib": 2**30}
PART_NAMES = {
    "frozen": "weights, frozen",
    "trained": "weights, trained (fp32)",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "copies": "bf16 copies of autocast",
    "activations": "activations",
    "layer": "backward pass of a layer",
    "head": "head, a part of the vocabulary at a time",
    "vision": "vision tower at work",
    "cache": "cache of image features",
    "overhead": "process and libraries",
}


def plan_size(plan: str | None) -> int | None:
    """Bytes of the GPU that ``--plan 8GB`` names; None for ``--plan`` alone and without it.

    Raises:
        UserError: it is neither a size nor True.
    """
    if plan is None or plan.lower() == "true":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(gb|gib)", plan.strip(), re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise UserError(f"--plan {plan} is no size of a GPU; expected for instance 8GB or 24GiB, or --plan alone")
    return round(float(found[1]) * UNITS[found[2].lower()])


# --plan 8GB


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
    size: int, model_args: ModelArguments, training_args: TrainingArguments, splits: Splits, given: Given
) -> None:
    """Print candidates from what is closest to the defaults to what needs least, and mark the first that fits."""
    adapters = model_args.use_lora or given.origin("use_lora") is None
    check_adapter_arguments(
        adapters, model_args.lora_rank, model_args.lora_alpha, model_args.lora_dropout, model_args.load_in_4bit
    )
    config = load_config(resolve_model_path(model_args.model_name))
    estimates = {use_lora: Estimate(config, method_of(model_args, use_lora, on_gpu=True)) for use_lora in (False, True)}
    rows = []
    for candidate in candidates(model_args, training_args, given):
        batch = largest_batch(splits, training_args, candidate.batch_size, candidate.tokens_per_batch)
        rows.append((candidate, batch, estimates[candidate.use_lora].memory(batch, candidate.saving)))
    room = USABLE * size
    chosen = next((candidate for candidate, _, memory in rows if memory.peak <= room), None)
    console = Console(highlight=False, soft_wrap=True, quiet=training_args.process_index != 0)
    console.print(candidates_table(rows, chosen, size, model_args.lora_rank))
    console.print(advice(chosen, rows[-1][2], size))


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
            f"The first that fits in {USABLE:.0%} of it. Add to the command:\n  {chosen.flags()}\n"
            "Counted from shapes for bf16 autocast, not measured; --plan alone measures on the machine it runs on."
        )
    return (
        f"Nothing fits in {USABLE:.0%} of {gigabytes(size)}: the last one needs {gigabytes(least.peak)}. "
        "A smaller --max_length or --max_pixels makes samples smaller, fewer arguments of your own leave more to try."
    )


# --plan


def show_plan(
    model: Any,
    model_args: ModelArguments,
    training_args: TrainingArguments,
    splits: Splits,
    collator: VLMDataCollator,
    build_trainer: Callable[..., Any],
) -> None:
    """Print expected memory by part, tokens and steps, and the time that a few measured steps foretell.

    The steps change the model in memory; nothing is written but to a temporary folder.

    Args:
        build_trainer: ``create_trainer`` for this model and its processor.
    """
    console = Console(highlight=False, soft_wrap=True, quiet=training_args.process_index != 0)
    on_gpu = torch.cuda.is_available() and not training_args.use_cpu
    visual = backbone_of(model).visual
    mode, why = decide(model.config, visual, splits, training_args)
    cached = feature_bytes(model.config, visual, splits) if mode == "memory" else 0
    memory = expected_memory(model_args, training_args, splits, on_gpu, 0 if on_gpu else cached)
    console.print(memory_table(memory))
    console.print(f"image features: {'not cached' if mode == 'off' else f'cached in {mode}'} ({why})")
    plan = batch_plan(splits.train_tokens, training_args)
    show_steps(console, plan, training_args)
    if not on_gpu and memory.peak - memory.frozen - memory.trained > psutil.virtual_memory().available:
        console.print("plan: that is more than the free memory, so no step was measured; --plan SIZE proposes less")
        return
    measured = measure(training_args, splits, collator, build_trainer, mode != "off")
    show_time(console, measured, plan, training_args)
    if on_gpu:
        console.print(f"measured peak on the GPU: {gigabytes(torch.cuda.max_memory_reserved())}")
    console.print("plan: nothing was kept or written")


def expected_memory(
    model_args: ModelArguments, training_args: TrainingArguments, splits: Splits, on_gpu: bool, cache: int
) -> Memory:
    """The memory of a run as its arguments say."""
    config = load_config(resolve_model_path(model_args.model_name))
    estimate = Estimate(config, method_of(model_args, model_args.use_lora, on_gpu))
    saving = Saving(
        load_in_4bit=model_args.load_in_4bit,
        eight_bit_optimizer="8bit" in optimizer_name(training_args),
        gradient_checkpointing=bool(training_args.gradient_checkpointing),
        accumulates=training_args.gradient_accumulation_steps > 1,
    )
    size, tokens = training_args.per_device_train_batch_size, training_args.tokens_per_batch
    return estimate.memory(largest_batch(splits, training_args, size, tokens), saving, cache)


def method_of(model_args: ModelArguments, use_lora: bool, on_gpu: bool) -> Method:
    """What the arguments train, with adapters or without."""
    asked = (model_args.freeze_vision_tower, model_args.freeze_multi_modal_projector, False)
    frozen = tuple(part for part, is_frozen in zip(PARTS, asked, strict=True) if is_frozen)
    rank = model_args.lora_rank if use_lora else None
    return Method(frozen, rank, model_args.lora_target, model_args.lora_dropout, on_gpu)


def memory_table(memory: Memory) -> Table:
    """Bytes of each part, and of those that make the peak."""
    table = Table("part", title="Expected peak memory", title_justify="left")
    table.add_column("size", justify="right")
    table.add_column("at the peak", justify="right")
    for part, value in memory.by_part.items():
        if value:
            table.add_row(PART_NAMES[part], gigabytes(value), "yes" if part in memory.at_peak else "no")
    table.add_row(f"peak, when {memory.peak_moment}", gigabytes(memory.peak), "", style="bold")
    return table


def largest_batch(
    splits: Splits, training_args: TrainingArguments, batch_size: int, tokens_per_batch: int | None
) -> Batch:
    """The largest batch that can come up: the longest samples together; the few prompt tokens count as labels."""
    lengths = splits.train_tokens
    if tokens_per_batch:
        asked = copy.copy(training_args)
        asked.tokens_per_batch = tokens_per_batch
        chosen = max(batch_plan(lengths, asked).batches(0), key=lambda batch: int(lengths[batch].sum()))
    else:
        chosen = np.argsort(-lengths, kind="stable")[:batch_size].tolist()
    tokens, images = lengths[chosen], splits.train_image_tokens[chosen]
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
    )


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of an epoch, and epochs of a run."""

    per_epoch: int
    epochs: float

    @classmethod
    def of(cls, plan: BatchPlan, training_args: TrainingArguments) -> Steps:
        per_epoch = -(-len(plan) // (training_args.gradient_accumulation_steps * training_args.world_size))
        if training_args.max_steps > 0:
            return cls(per_epoch, training_args.max_steps / per_epoch)
        return cls(per_epoch, training_args.num_train_epochs)


def show_steps(console: Console, plan: BatchPlan, training_args: TrainingArguments) -> None:
    """Tokens in a batch and in a step, padding, and how many steps there are."""
    sizes = [plan.lengths[batch] for batch in plan.batches(0)]
    tokens = np.array([size.sum() for size in sizes])
    slots = tokens if training_args.padding_free else np.array([size.max() * len(size) for size in sizes])
    steps = Steps.of(plan, training_args)
    batches = training_args.gradient_accumulation_steps * training_args.world_size
    console.print(
        f"tokens per batch: {tokens.mean():.0f} on average, {tokens.max()} at most; padding "
        f"{1 - tokens.sum() / slots.sum():.1%}\n"
        f"tokens per step: {tokens.mean() * batches:.0f} on average ({batches} batches)\n"
        f"steps: {steps.per_epoch} an epoch, {round(steps.per_epoch * steps.epochs)} in {steps.epochs:.3g} epochs"
    )


@dataclass(frozen=True)
class Pace:
    """Seconds of forward and backward pass, loading included, for a token; and of an optimizer step."""

    token_s: float
    step_s: float

    def epoch_s(self, plan: BatchPlan, training_args: TrainingArguments) -> float:
        steps = Steps.of(plan, training_args)
        return int(plan.lengths.sum()) / training_args.world_size * self.token_s + steps.per_epoch * self.step_s


class Stopwatch(TrainerCallback):
    """Seconds of each step, and how many of them the optimizer took."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self._last = self._optimizer = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._last = _now()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._optimizer = _now()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._optimizer = _now() - self._optimizer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = _now()
        self.steps.append((now - self._last, self._optimizer))
        self._last = now


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    training_args: TrainingArguments,
    splits: Splits,
    collator: VLMDataCollator,
    build_trainer: Callable[..., Any],
    cached: bool,
) -> list[Pace]:
    """The pace of steps in which images are encoded, and, with a cache, of those in which they are found."""
    batches = batch_plan(splits.train_tokens, training_args).batches(0)[:MEASURED_BATCHES]
    chosen = [index for batch in batches for index in batch]
    lengths = splits.train_tokens[chosen]
    collator = copy.copy(collator)
    collator.cache = VisionCache("plan", MemoryStore(float("inf"))) if cached else None
    epochs = 2 if cached else 1
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(
            train_dataset=splits.train.select(chosen),
            training_args=brief(training_args, folder, epochs),
            collator=collator,
            lengths=lengths,
        )
        tokens = [int(lengths[batch].sum()) for epoch in range(epochs) for batch in trainer.batch_plan().batches(epoch)]
        trainer.callback_handler.callbacks[:] = [
            one
            for one in trainer.callback_handler.callbacks
            if type(one).__name__ not in ("PrinterCallback", "DrawLoss")
        ]
        trainer.add_callback(stopwatch)
        trainer.train()
    steps = list(zip(tokens, stopwatch.steps, strict=True))
    size = len(steps) // epochs
    first, later = steps[min(1, size - 1) : size], steps[size:]
    return [pace_of(phase) for phase in (first, later) if phase]


def pace_of(steps: list[tuple[int, tuple[float, float]]]) -> Pace:
    """From tokens, seconds, and seconds of the optimizer in each step."""
    computing = sum(whole - optimizer for _, (whole, optimizer) in steps)
    return Pace(computing / sum(tokens for tokens, _ in steps), sum(own for _, (_, own) in steps) / len(steps))


def brief(training_args: TrainingArguments, folder: str, epochs: int) -> TrainingArguments:
    """The arguments for a few steps that leave nothing behind."""
    args = copy.copy(training_args)
    args.without_evaluation("--plan")
    args.output_dir, args.num_train_epochs, args.max_steps = folder, epochs, -1
    args.gradient_accumulation_steps, args.dataloader_num_workers = 1, 0
    args.dataloader_prefetch_factor, args.dataloader_persistent_workers = None, False
    args.save_strategy, args.logging_strategy, args.report_to = "no", "no", "none"
    args.early_stopping_patience, args.disable_tqdm = None, True
    return args


def show_time(console: Console, measured: list[Pace], plan: BatchPlan, training_args: TrainingArguments) -> None:
    """Seconds of a step and of an epoch in each phase, and of the whole run."""
    steps = Steps.of(plan, training_args)
    names = ("with the vision tower", "with cached features")
    epochs = [pace.epoch_s(plan, training_args) for pace in measured]
    for name, seconds in zip(names, epochs, strict=False):
        console.print(f"an epoch {name}: {duration(seconds)}, a step {seconds / steps.per_epoch:.2g} s (measured)")
    later = max(steps.epochs - 1, 0) * epochs[-1]
    whole = min(steps.epochs, 1) * epochs[0] + later
    console.print(f"whole run: {duration(whole)} of training, without evaluation and saving")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"


def gigabytes(size: float) -> str:
    """Bytes in GB; in MB below a tenth of one."""
    return f"{size / GIGABYTE:.3g} GB" if size >= GIGABYTE / 10 else f"{size / 1e6:.3g} MB"
