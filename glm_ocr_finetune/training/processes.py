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


def sharding_of(training_args: TrainingArguments) -> str:
    """What the ranks share out: ``FSDP``, ``ZeRO-1`` to ``ZeRO-3``; empty where each holds weights and optimizer whole."""
    deepspeed: Any = training_args.deepspeed_plugin
    if deepspeed:
        return f"ZeRO-{deepspeed.zero_stage}"
    fsdp = training_args.fsdp or os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")
    return "FSDP" if fsdp else ""


def share_weights(training_args: TrainingArguments) -> bool:
    """Whether each rank holds a part of the weights only, so that all must run the same modules at the same time."""
    return sharding_of(training_args) in ("FSDP", "ZeRO-3")


def settle_sharding(training_args: TrainingArguments) -> None:
    """Have FSDP and DeepSpeed load and save whole models, and leave the optimizer and the schedule to the run.

    Raises:
        UserError: something is asked for that does not work with them.
    """
    sharding = sharding_of(training_args)
    if sharding == "FSDP":
        _settle_fsdp(training_args)
    elif sharding:
        _refuse_own_optimizer(training_args)


def _settle_fsdp(training_args: TrainingArguments) -> None:
    settings = training_args.fsdp_plugin_args
    version = settings["fsdp_version"] if settings else int(os.environ.get("FSDP_VERSION", "1"))
    if version != 2:
        raise UserError(
            f"FSDP {version} is not supported; give fsdp_version: 2 in the configuration of accelerate, or "
            """--fsdp_config '{"version": 2}'"""
        )
    whole = {"state_dict_type": "FULL_STATE_DICT", "cpu_ram_efficient_loading": False}
    for name, value in whole.items():
        os.environ[f"FSDP_{name.upper()}"] = str(value)
    if settings:
        settings |= whole


def _refuse_own_optimizer(training_args: TrainingArguments) -> None:
    plugin: Any = training_args.deepspeed_plugin
    own = [name for name in ("optimizer", "scheduler") if name in plugin.deepspeed_config]
    if own:
        raise UserError(
            f"the DeepSpeed configuration has {' and '.join(own)}; leave them out: --optim, --learning_rate and "
            "--lr_scheduler_type say which"
        )
