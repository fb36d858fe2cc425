"""Training arguments that are refused, or that have no effect: out of range, unsupported, without what they need."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .args import DataArguments, TrainingDefaults
from .argument_fields import Range, default_of
from .data_sets import data_sets_of
from .errors import UserError
from .sft_arguments import ARGUMENTS, BY_NAME, INSTALL, OPTIMIZERS, TRACKERS


@dataclass(frozen=True)
class Need:
    """What an argument has no effect without.

    Attributes:
        says: what is needed, to be read after "needs".
        met: whether the settled training arguments have it.
        flag: whether it is a flag to type; what depends on the machine is said, not refused.
    """

    says: str
    met: Callable[[Any], bool]
    flag: bool = True


def _optimizer(args: Any) -> str:
    return str(getattr(args.optim, "value", args.optim))


def plain(value: object) -> str:
    return str(getattr(value, "value", value))


def _evaluates(args: Any) -> bool:
    return plain(args.eval_strategy) != "no"


HELD_OUT = 200  # samples of a stream, unless --eval_samples says otherwise: no more are read
WITHOUT_WARM_UP = ("constant", "reduce_lr_on_plateau", "greedy")
WITHOUT_SETTINGS = ("constant", "constant_with_warmup")
ADAM = ("adam", "adem", "lion")  # parts of the names of optimizers that take betas
LOW_RANK = ("galore", "apollo")
READS_OPTIM_ARGS = (
    *("sgd", "adagrad", "rmsprop", "ademamix", "galore", "apollo", "grok", "schedule_free", "stable", "anyprecision"),
    *("adamw_torch_4bit", "adamw_torch_8bit"),
)

NEEDS = {
    "adam": Need("an --optim of the Adam family", lambda args: any(word in _optimizer(args) for word in ADAM)),
    "adam epsilon": Need(
        "an --optim of the Adam family", lambda args: "ada" in _optimizer(args) or "adem" in _optimizer(args)
    ),
    "cache": Need("a --cache_vision_features other than off", lambda args: args.cache_vision_features != "off"),
    "checkpointing": Need("--gradient_checkpointing True", lambda args: bool(args.gradient_checkpointing)),
    "compiling": Need(
        "a GPU, bf16 or fp16, and --padding_free True",
        lambda args: args.device.type == "cuda" and (args.bf16 or args.fp16) and args.padding_free,
        flag=False,
    ),
    "epochs": Need("--max_steps to be left out", lambda args: args.max_steps <= 0, flag=False),
    "evaluation": Need("an evaluation (--eval_strategy)", _evaluates, flag=False),
    "evaluation by steps": Need("--eval_strategy steps", lambda args: plain(args.eval_strategy) == "steps", flag=False),
    "fixed batches": Need(
        "batches of a fixed size, without --tokens_per_batch", lambda args: not args.tokens_per_batch
    ),
    "fsdp": Need("--fsdp", lambda args: bool(args.fsdp)),
    "gpu": Need("a GPU", lambda args: args.device.type != "cpu", flag=False),
    "gpu memory": Need("a GPU", lambda args: args.device.type != "cpu"),
    "hub": Need("--push_to_hub True", lambda args: args.push_to_hub or "trackio" in args.report_to),
    "logging by steps": Need(
        "--logging_strategy steps", lambda args: plain(args.logging_strategy) == "steps", flag=False
    ),
    "low rank": Need("a galore or apollo --optim", lambda args: any(word in _optimizer(args) for word in LOW_RANK)),
    "optimizer": Need(
        "an --optim that reads it (rmsprop, sgd, adagrad, ademamix, ...)",
        lambda args: any(word in _optimizer(args) for word in READS_OPTIM_ARGS),
    ),
    "padding": Need(
        "--padding_free False (rows without padding have none to round up)", lambda args: not args.padding_free
    ),
    "ranks": Need("several processes (torchrun or accelerate launch)", lambda args: args.world_size > 1, flag=False),
    "reading": Need("reading at evaluation (--eval_generate)", lambda args: bool(args.eval_generate), flag=False),
    "resuming": Need("--resume_from_checkpoint", lambda args: bool(args.resume_from_checkpoint), flag=False),
    "saving by steps": Need("--save_strategy steps", lambda args: plain(args.save_strategy) == "steps", flag=False),
    "schedule settings": Need(
        "another --lr_scheduler_type; constant schedules have no settings",
        lambda args: plain(args.lr_scheduler_type) not in WITHOUT_SETTINGS,
    ),
    "tracker": Need("an experiment tracker (--report_to)", lambda args: bool(args.report_to), flag=False),
    "trackio": Need("--report_to trackio", lambda args: "trackio" in args.report_to),
    "warm-up": Need(
        "an --lr_scheduler_type with a warm-up, such as constant_with_warmup or cosine",
        lambda args: plain(args.lr_scheduler_type) not in WITHOUT_WARM_UP,
    ),
    "workers": Need("--dataloader_num_workers 1 or more", lambda args: args.dataloader_num_workers > 0),
}


def _ranges() -> dict[str, Range]:
    declared = {one.name: one.metadata.get("within") for one in fields(TrainingDefaults)}
    declared |= {one.name: one.within for one in ARGUMENTS}
    return {name: within for name, within in declared.items() if within}


RANGES = _ranges()


def check_range(name: str, value: Any, within: Range | None) -> None:
    """Raise UserError for a number that the argument does not take; None and words are not looked at."""
    if within is None or isinstance(value, bool) or not isinstance(value, (int, float)) or value in within:
        return
    raise UserError(f"--{name} is {value:g}; it must be {within}")


def refuse(values: Mapping[str, Any]) -> None:
    """Raise UserError for training arguments, by name, whose value can have no effect or is out of range."""
    for name, value in values.items():
        check_range(name, value, RANGES.get(name))
        declared = BY_NAME.get(name)
        if declared and declared.only is not None and value not in declared.only:
            shown = f" {value}" if value not in ("", None) else ""
            raise UserError(f"--{name}{shown} is not supported: {declared.does}")
    _refuse_missing_packages(values)


def _refuse_missing_packages(values: Mapping[str, Any]) -> None:
    wanted = [("optim", plain(values.get("optim", "")), OPTIMIZERS)]
    wanted += [("report_to", name, TRACKERS) for name in listed(values.get("report_to"))]
    wanted += (
        [("deepspeed", str(values["deepspeed"]), {str(values["deepspeed"]): "deepspeed"})]
        if values.get("deepspeed")
        else []
    )
    wanted += [("load_in_4bit", str(values.get("load_in_4bit")), {"True": "bitsandbytes"})]
    for flag, value, packages in wanted:
        if flag == "report_to" and value not in packages:
            close = difflib.get_close_matches(value, packages, n=1)
            meant = f"did you mean {close[0]}?" if close else f"expected some of: {', '.join(packages)}"
            raise UserError(f"--report_to {value} is no tracker; {meant}")
        package = packages.get(value, "")
        if package and not installed(package):
            pip = INSTALL.get(package, package)
            raise UserError(f"--{flag} {value} needs the package {package}: pip install {pip}, or leave --{flag} out")


def listed(value: Any) -> list[str]:
    """The words of an argument that takes one or several."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def installed(package: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def unmet(args: Any, given: Mapping[str, Any]) -> Iterator[tuple[str, Need]]:
    """Those of the given training arguments that the settled ones leave without effect, and what they need."""
    needs = {one.name: one.metadata.get("needs") for one in fields(TrainingDefaults)}
    needs |= {one.name: one.needs for one in ARGUMENTS}
    for name, value in given.items():
        need = NEEDS.get(needs.get(name) or "")
        is_none = not isinstance(value, bool) and value == 0  # no steps of warm-up need no warm-up
        if need and not is_none and not need.met(args):
            yield name, need


def refuse_with_streaming(data_args: DataArguments, training_args: Any) -> None:
    """Raise UserError for what cannot be done with samples that are not known before they come.

    Args:
        training_args: settled, or as they were typed.
    """
    if training_args.max_steps <= 0:
        batch = training_args.per_device_train_batch_size * training_args.gradient_accumulation_steps
        samples = batch * int(os.environ.get("WORLD_SIZE", "1"))
        raise UserError(
            "--streaming True needs --max_steps: a stream does not tell its length, so the end of the run and of the "
            f"learning rate's schedule are not known ({samples} samples a step: one pass over N is N / {samples} steps)"
        )
    for flag, is_given, why in _refused(data_args, training_args):
        if is_given:
            raise UserError(f"--{flag} does not work with --streaming True: {why}")


def _refused(data_args: DataArguments, training_args: Any) -> Iterator[tuple[str, bool, str]]:
    """(flag and value, whether it was given, why it cannot be)"""
    lengths = "the length of every sample would have to be known before the first step"
    yield f"tokens_per_batch {training_args.tokens_per_batch}", bool(training_args.tokens_per_batch), lengths
    by_length = getattr(training_args, "train_sampling_strategy", None) == "group_by_length"
    yield "train_sampling_strategy group_by_length", by_length, lengths
    for name in ("eval_strategy", "save_strategy"):
        is_epoch = plain(getattr(training_args, name)) == "epoch"
        yield f"{name} epoch", is_epoch, f"a stream has no epochs; give --{name} steps"
    persistent = bool(getattr(training_args, "dataloader_persistent_workers", False))
    yield "dataloader_persistent_workers True", persistent, "each pass over the data starts workers anew"
    out_of_order = not getattr(training_args, "dataloader_in_order", True)
    yield "dataloader_in_order False", out_of_order, "a run could not be resumed exactly"
    skips = bool(getattr(training_args, "ignore_data_skip", False))
    yield "ignore_data_skip True", skips, "a stream goes on where the checkpoint stands, without skipping"
    yield "plan", bool(data_args.plan), "it counts every sample; plan with a part of the data, without --streaming"
    yield "dataset_name", len(data_sets_of(data_args)) > 1, "one data set is streamed at a time"
    yield "task json", data_args.task == "json", "the fields of all labels would have to be known; --prompt gives them"
    yield "replay_dataset", bool(data_args.replay_dataset), "its share is of a number of samples that is not known"
    yield "max_samples", data_args.max_samples is not None, "--max_steps is what ends the run"
    yield "level", data_args.level is not None, "it is for page formats, which are not streamed"
    for name in ("train_split", "eval_split"):
        split = getattr(data_args, name) or ""
        yield (
            f"{name} {split}",
            bool(re.search(r"[\[+]", split)),
            "slices and sums need the number of rows; name a split",
        )
    share = data_args.eval_split_size
    is_share = share not in (0, default_of(DataArguments.__dataclass_fields__["eval_split_size"]))
    why = f"the number of samples is not known; --eval_samples N holds N back ({HELD_OUT} by default)"
    yield f"eval_split_size {share:g}", is_share, why
