"""How long the sequences of a run may be: what the user gave, else what the data needs and the device holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import psutil
import torch

from ..args import DataArguments, ModelArguments
from ..data.lengths import Fitted, fit, settle
from ..model.loading import load_config, resolve_model_path
from ..ranks import gather, is_main_process
from .memory import Estimate, Method
from .propose import USABLE, largest_batch, method_of, saving_of

logger = logging.getLogger(__name__)

ROOMY = 0.75  # of a GPU: below, activations are kept; evaluation and fragments need room, too

if TYPE_CHECKING:
    from ..data.splits import Fitting, Splits
    from ..training_args import TrainingArguments


def fitting_of(model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments) -> Fitting:
    """The way in which ``load_splits`` settles the pixel budget and the longest sequence of a run."""
    may_lower = data_args.max_pixels is None
    if training_args.gave_max_length:
        return partial(fit, max_length=training_args.max_length, may_lower=may_lower)
    if data_args.plan and data_args.plan.lower() != "true":
        return partial(settle, fits=lambda fitted: True, may_lower=may_lower)  # for a GPU of another size
    return partial(settle, fits=fits_device(model_args, training_args), may_lower=may_lower)


def fits_device(model_args: ModelArguments, training_args: TrainingArguments) -> Callable[[Fitted], bool]:
    """Tells whether a run on some samples fits the device it is on; what it counts with is made when it is asked."""
    on_gpu = torch.cuda.is_available() and not training_args.use_cpu

    def fits(fitted: Fitted) -> bool:
        kept = ~fitted.too_long
        if not kept.any():
            return False
        size, tokens = training_args.per_device_train_batch_size, training_args.tokens_per_batch
        batch = largest_batch(fitted.tokens[kept], fitted.image_tokens[kept], training_args, size, tokens)
        return estimate(model_args, on_gpu).memory(batch, saving_of(model_args, training_args)).peak <= room

    room = min(gather([USABLE * device_memory(on_gpu)]))
    return fits


def settle_checkpointing(model_args: ModelArguments, training_args: TrainingArguments, splits: Splits) -> None:
    """Keep activations where the GPU holds them, unless the user said: recomputing them costs a quarter of the time.

    Memory is counted for whole weights, so sharded runs keep the default.
    """
    sharded = training_args.fsdp or training_args.deepspeed
    asked = "gradient_checkpointing" not in training_args.origins
    if asked or not training_args.gradient_checkpointing or splits.stream or sharded:
        return
    size, tokens = training_args.per_device_train_batch_size, training_args.tokens_per_batch
    batch = largest_batch(splits.train_tokens, splits.train_image_tokens, training_args, size, tokens)
    saving = replace(saving_of(model_args, training_args), gradient_checkpointing=False)
    needed, there = estimate(model_args, on_gpu=True).memory(batch, saving).peak, device_memory(on_gpu=True)
    if max(gather([needed / there])) <= ROOMY:
        why = f"without, about {needed / 1e9:.0f} of this GPU's {there / 1e9:.0f} GB are needed"
        training_args.settle_checkpointing(False, why)
        if is_main_process():
            logger.info("gradient_checkpointing = False (%s)", why)


@cache
def _estimate(model: str, method: Method) -> Estimate:
    return Estimate(load_config(model), method)


def estimate(model_args: ModelArguments, on_gpu: bool) -> Estimate:
    """The memory of what the arguments train, counted once in a process: that takes seconds."""
    return _estimate(resolve_model_path(model_args.model_name), method_of(model_args, model_args.use_lora, on_gpu))


def device_memory(on_gpu: bool) -> int:
    """Bytes of this process's GPU, or its share of the machine's memory; free or not, so that it is always the same."""
    if on_gpu:
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return int(psutil.virtual_memory().total) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
