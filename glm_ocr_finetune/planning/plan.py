"""``--plan``: the memory and time that a run would take. ``--plan 8GB``: what to type for a GPU of that size."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback

from ..args import ModelArguments
from ..data.batching import BatchPlan
from ..model.loading import load_config, resolve_model_path
from ..ranks import console
from ..training.cache_choice import decide, feature_bytes
from ..vision.cache import MemoryStore, VisionCache
from ..vision.encoder import backbone_of
from .memory import Estimate, Memory
from .propose import batch_plan, gigabytes, largest_batch, method_of, saving_of

if TYPE_CHECKING:
    from ..data.collate import VLMDataCollator
    from ..data.splits import Splits
    from ..training_args import TrainingArguments

MEASURED_BATCHES = 4  # the first of them warms up and is not counted
PART_NAMES = {
    "frozen": "weights, frozen",
    "trained": "weights, trained (fp32)",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "copies": "bf16 copies made by autocast",
    "activations": "activations",
    "layer": "backward pass of one layer",
    "head": "LM head, one vocabulary chunk at a time",
    "vision": "vision tower, while it encodes",
    "cache": "cache of image features",
    "overhead": "process and libraries",
}


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
    out = console()
    on_gpu = torch.cuda.is_available() and not training_args.use_cpu
    visual = backbone_of(model).visual
    mode, why = decide(model.config, visual, splits, training_args)
    cached = feature_bytes(model.config, visual, splits) if mode == "memory" else 0
    memory = expected_memory(model_args, training_args, splits, on_gpu, 0 if on_gpu else cached)
    out.print(memory_table(memory))
    out.print(f"image features: {'not cached' if mode == 'off' else f'cached in {mode}'} ({why})")
    plan = batch_plan(splits.train_tokens, training_args)
    show_steps(out, plan, training_args)
    if not on_gpu and memory.peak - memory.frozen - memory.trained > psutil.virtual_memory().available:
        out.print(
            "plan: this is more than the free memory, so no step was timed; --plan SIZE proposes settings that need less"
        )
        return
    measured = measure(training_args, splits, collator, build_trainer, mode != "off")
    show_time(out, measured, plan, training_args)
    if on_gpu:
        out.print(f"measured peak on the GPU: {gigabytes(torch.cuda.max_memory_reserved())}")
    out.print("plan finished: the timed steps were thrown away, and nothing was written")


def expected_memory(
    model_args: ModelArguments, training_args: TrainingArguments, splits: Splits, on_gpu: bool, cache: int
) -> Memory:
    """The memory of a run as its arguments say."""
    config = load_config(resolve_model_path(model_args.model_name))
    estimate = Estimate(config, method_of(model_args, model_args.use_lora, on_gpu))
    size, tokens = training_args.per_device_train_batch_size, training_args.tokens_per_batch
    batch = largest_batch(splits.train_tokens, splits.train_image_tokens, training_args, size, tokens)
    return estimate.memory(batch, saving_of(model_args, training_args), cache)


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


def show_steps(out: Console, plan: BatchPlan, training_args: TrainingArguments) -> None:
    """Tokens in a batch and in a step, padding, and how many steps there are."""
    sizes = [plan.lengths[batch] for batch in plan.batches(0)]
    tokens = np.array([size.sum() for size in sizes])
    slots = tokens if training_args.padding_free else np.array([size.max() * len(size) for size in sizes])
    steps = Steps.of(plan, training_args)
    batches = training_args.gradient_accumulation_steps * training_args.world_size
    out.print(
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
            one for one in trainer.callback_handler.callbacks if type(one).__name__ not in ("StepLines", "DrawLoss")
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
    args.dataloader_multiprocessing_context = None
    args.save_strategy, args.logging_strategy, args.report_to = "no", "no", "none"
    args.early_stopping_patience, args.disable_tqdm = None, True
    return args


def show_time(out: Console, measured: list[Pace], plan: BatchPlan, training_args: TrainingArguments) -> None:
    """Seconds of a step and of an epoch in each phase, and of the whole run."""
    steps = Steps.of(plan, training_args)
    names = ("with the vision tower", "with cached features")
    epochs = [pace.epoch_s(plan, training_args) for pace in measured]
    for name, seconds in zip(names, epochs, strict=False):
        out.print(f"an epoch {name}: {duration(seconds)}, a step {seconds / steps.per_epoch:.2g} s (measured)")
    later = max(steps.epochs - 1, 0) * epochs[-1]
    whole = min(steps.epochs, 1) * epochs[0] + later
    out.print(f"whole run: {duration(whole)} of training, without evaluation and saving")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} seconds"
