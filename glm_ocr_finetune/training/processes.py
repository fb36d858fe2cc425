"""What depends on how the processes of a run were started: one for each GPU, with weights of its own or shared."""

from __future__ import annotations

import os
from typing import Any

from ..errors import UserError
from ..training_args import TrainingArguments


def refuse_one_process_for_many_gpus(training_args: TrainingArguments) -> None:
    """Raise UserError when this one process sees several GPUs, of which it would train on one."""
    if training_args.n_gpu > 1:
        raise UserError(
            f"{training_args.n_gpu} GPUs are visible and there is one process: start one for each with torchrun "
            f"--nproc_per_node {training_args.n_gpu} finetune.py and the same arguments, or set CUDA_VISIBLE_DEVICES=0"
        )


def share_weights(training_args: TrainingArguments) -> bool:
    """Whether each rank holds a part of the weights only: FSDP, or DeepSpeed ZeRO-3."""
    deepspeed: Any = training_args.deepspeed_plugin
    fsdp = training_args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")
    return bool(fsdp or (deepspeed and deepspeed.zero_stage == 3))


def settle_shared_weights(training_args: TrainingArguments, reads_a_probe: bool) -> None:
    """Turn off what would make ranks that share their weights run different modules, and wait for each other for ever.

    Reading ends after as many steps as the longest answer of a rank takes, and a cached image needs no vision tower.

    Raises:
        UserError: one of these was asked for.
    """
    if not share_weights(training_args):
        return
    why = "ranks that share their weights must run the same forward passes"
    origins, metric = training_args.origins, training_args.metric_for_best_model
    asked = training_args.eval_generate and "eval_generate" not in origins
    judged = metric not in (None, "loss", "eval_loss") and "metric_for_best_model" not in origins
    if asked or judged or reads_a_probe:
        raise UserError(
            "reading within the run (--eval_generate, --probe_dataset, a --metric_for_best_model of readings) does not "
            f"work with FSDP or ZeRO-3, as {why}; leave it out, and run evaluate on the result"
        )
    if training_args.cache_vision_features in ("memory", "disk"):
        raise UserError(
            f"--cache_vision_features {training_args.cache_vision_features} does not work with FSDP or ZeRO-3, as {why}; "
            "give off"
        )
    training_args.settle("cache_vision_features", "off", why)
    if training_args.eval_generate:
        training_args.settle("eval_generate", False, why)
        if "metric_for_best_model" in origins:
            training_args.settle("metric_for_best_model", "eval_loss", "nothing is read")
