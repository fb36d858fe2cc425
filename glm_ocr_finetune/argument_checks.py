"""Training arguments that are refused, or that have no effect: out of range, unsupported, without what they need."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .args import TrainingDefaults
from .argument_fields import Range
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
