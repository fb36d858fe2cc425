"""``TrainingArguments``: TRL's ``SFTConfig`` with this package's defaults, and where each settled value came from."""

from __future__ import annotations

import contextlib
import logging
import netrc
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_token
from huggingface_hub.constants import ENDPOINT
from transformers import Trainer, get_scheduler
from trl import SFTConfig

from .args import DEFAULT_LENGTH, TrainingDefaults
from .argument_checks import NEEDS, WITHOUT_WARM_UP, installed, listed, plain, refuse, unmet
from .argument_fields import default_of
from .errors import UserError
from .network import hub_answers
from .sft_arguments import BY_NAME

logger = logging.getLogger(__name__)

LEARNING_RATES = {  # (tiny model, LoRA) -> rate and reason
    (False, False): (1e-5, "default for full fine-tuning"),  # both from the official recipe, zai-org/GLM-OCR
    (False, True): (1e-4, "default for LoRA"),
    (True, False): (1e-3, "the tiny model needs a hundred times the rate of GLM-OCR"),  # both by trial: docs/log.md
    (True, True): (3e-3, "the tiny model needs thirty times the rate of GLM-OCR"),
}
CHECKPOINTING = frozenset(
    {"use_reentrant", "selective", "every_n_layers", "offload", "preserve_rng_state", "determinism_check", "early_stop"}
)


@dataclass
class TrainingArguments(TrainingDefaults, SFTConfig):
    """All arguments of ``trl.SFTConfig``; those of :class:`TrainingDefaults` have this package's defaults.

    What was not given is settled on construction, but for the learning rate, which waits for
    :meth:`settle_learning_rate`. ``origins`` tells why each settled value is what it is.

    Raises:
        UserError: two arguments contradict each other, or one needs a package that is not installed.
    """

    def __post_init__(self) -> None:
        self.origins: dict[str, str] = {}
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        given = {one.name: given[one.name] for one in fields(self) if given[one.name] != default_of(one)}
        refuse(given)
        self._settle_precision()
        self._settle_device()
        self._settle_checkpointing(given)
        self._settle_warmup()
        self._settle_steps()
        self._settle_judging()
        self._settle_reporting()
        if self.max_length is None:
            self.settle("max_length", DEFAULT_LENGTH, "default; more where the data needs it and the memory holds it")
        self._refuse_contradictions()
        # Labels are cut by nobody here: --max_length is kept by the pixel budget and by setting samples aside.
        self.remove_unused_columns = False
        compiled = given.get("torch_compile", False)
        self.torch_compile = False  # accelerate would be told to compile the whole model
        with one_line(given):
            self._meet_others()
            super().__post_init__()
        self.torch_compile = compiled
        self._check_optimizer()
        self._check_schedule()
        self._check_hub()
        self._say_what_is_idle(given)

    def _say_what_is_idle(self, given: Mapping[str, Any]) -> None:
        """Refuse a given argument that has no effect without another; say it of one that this machine leaves idle."""
        for name, need in unmet(self, given):
            if need.flag:
                raise UserError(f"--{name} needs {need.says}; otherwise leave it out")
            if self.process_index == 0:
                logger.warning("--%s has no effect here: it needs %s", name, need.says)

    def settle(self, name: str, value: object, why: str) -> None:
        """Give ``name`` a value that the user did not give, and remember why."""
        setattr(self, name, value)
        self.origins[name] = why

    def settle_learning_rate(self, use_lora: bool, is_tiny: bool = False) -> None:
        """Unless the user gave one: 1e-5, or 1e-4 with LoRA; a hundred times that, or thirty, for the tiny model."""
        if self.learning_rate is None:
            value, why = LEARNING_RATES[is_tiny, use_lora]
            self.settle("learning_rate", value, why)

    @property
    def gave_max_length(self) -> bool:
        """Whether the longest sequence was given, and is not to be settled from the data."""
        return "max_length" not in self.origins

    def without_evaluation(self, why: str) -> None:
        """Turn evaluation off because there is nothing to evaluate on."""
        self.settle("eval_strategy", "no", why)
        self.settle("eval_generate", False, why)
        self.settle("load_best_model_at_end", False, why)
        self.eval_on_start = False

    def _settle_precision(self) -> None:
        if self.bf16 is not None or self.fp16 is not None:
            self.bf16, self.fp16 = bool(self.bf16), bool(self.fp16)
            return
        cuda = torch.cuda.is_available() and not self.use_cpu
        bf16 = cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        why = "fp32 on a CPU" if not cuda else "this GPU has bf16" if bf16 else "this GPU has no bf16"
        self.settle("bf16", bf16, why)
        self.settle("fp16", cuda and not bf16, why)

    def _settle_device(self) -> None:
        cuda = torch.cuda.is_available() and not self.use_cpu
        given: Any = self
        if str(given.fsdp).lower() in ("true", "false"):  # transformers would take the word for an old option
            given.fsdp = str(given.fsdp).lower() == "true"
        if not torch.accelerator.is_available():
            # without it the ranks of torchrun do not join on a CPU, and each trains on everything
            self.settle("use_cpu", True, "there is no accelerator")
        if self.ddp_find_unused_parameters is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self.settle("ddp_find_unused_parameters", False, "every weight that is trained is in every step")
        if not cuda:
            self.dataloader_pin_memory = False  # pinned memory is for copies to a GPU
        if self.dataloader_num_workers is None:
            share = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            workers, why = (min(4, share - 1), "images are read ahead") if cuda else (0, "a CPU has no core to spare")
            self.settle("dataloader_num_workers", max(workers, 0), why)

    def _meet_others(self) -> None:
        """Join the ranks of torchrun on a CPU, where transformers would leave ``--ddp_timeout`` out."""
        distributed = torch.distributed
        if self.use_cpu and "RANK" in os.environ and "MASTER_ADDR" in os.environ and not distributed.is_initialized():
            timeout = timedelta(seconds=self.ddp_timeout)
            distributed.init_process_group(self.ddp_backend or "gloo", timeout=timeout)

    def _settle_checkpointing(self, given: Mapping[str, Any]) -> None:
        """One value under both of its names: transformers calls it activation_checkpointing from 5.20 on."""
        for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
            new = old.replace("gradient", "activation")
            settings = set(given.get(f"{old}_kwargs") or given.get(f"{new}_kwargs") or ())
            if unknown := settings - CHECKPOINTING:
                raise UserError(
                    f"--{old}_kwargs has no {unknown.pop()}; expected some of: {', '.join(sorted(CHECKPOINTING))}"
                )
            if not hasattr(self, new):
                continue
            if old in given and new in given and given[old] != given[new]:
                raise UserError(
                    f"--{old} {given[old]} and --{new} {given[new]} contradict each other; give one of them"
                )
            setattr(self, old, given.get(new, getattr(self, old)))
        if self.gradient_checkpointing is None:
            on_gpu = torch.cuda.is_available() and not self.use_cpu
            self.settle_checkpointing(on_gpu, "saves GPU memory" if on_gpu else "not needed on a CPU")
        if hasattr(self, "activation_checkpointing"):
            self.activation_checkpointing = self.gradient_checkpointing
            self.activation_checkpointing_kwargs = self.gradient_checkpointing_kwargs

    def settle_checkpointing(self, value: bool, why: str) -> None:
        """Give both of its names a value that the user did not give."""
        self.settle("gradient_checkpointing", value, why)
        if hasattr(self, "activation_checkpointing"):
            self.activation_checkpointing = value

    def _settle_warmup(self) -> None:
        if self.warmup_steps and self.warmup_ratio is not None:
            raise UserError(
                f"--warmup_steps {self.warmup_steps:g} and --warmup_ratio {self.warmup_ratio:g} contradict each other; "
                "give one of them"
            )
        if self.warmup_steps is not None:
            return
        if self.warmup_ratio is None and plain(self.lr_scheduler_type) not in WITHOUT_WARM_UP:
            self.settle("warmup_ratio", 0.1, "official recipe")
        self.warmup_steps = self.warmup_ratio or 0  # transformers 5 takes a number of steps below 1 as a ratio

    def _check_optimizer(self) -> None:
        """Raise UserError for settings that the optimizer cannot read; transformers would ask after the base was read."""
        if not self.optim_args or NEEDS["low rank"].met(self):  # those ask for the model first
            return
        try:
            Trainer.get_optimizer_cls_and_kwargs(self)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"--optim_args {self.optim_args}: {_one_line(error)}; expected name=value,name=value"
            ) from error

    def _check_schedule(self) -> None:
        """Raise UserError for settings that the schedule does not take, or lacks; transformers would ask late."""
        parameter = torch.nn.Parameter(torch.zeros(1))
        name, settings = plain(self.lr_scheduler_type), self.lr_scheduler_kwargs
        optimizer = torch.optim.SGD([parameter], lr=self.learning_rate or LEARNING_RATES[False, False][0])
        try:
            get_scheduler(name, optimizer, 1, 10, settings)
        except (TypeError, ValueError) as error:
            fault = "does not work with these --lr_scheduler_kwargs" if settings else "needs --lr_scheduler_kwargs"
            raise UserError(f"--lr_scheduler_type {name} {fault}: {_one_line(error)}") from error

    def _check_hub(self) -> None:
        """Raise UserError when nothing could be uploaded, before anything is trained."""
        if not self.push_to_hub:
            return
        if not hub_answers(ENDPOINT):
            raise UserError(
                f"--push_to_hub True: {ENDPOINT} cannot be reached; train without it and use `hf upload` later"
            )
        if not (self.hub_token or get_token()):
            raise UserError("--push_to_hub True needs a login: `hf auth login`, or --hub_token")

    def _settle_steps(self) -> None:
        """Evaluation and saving must meet for the best checkpoint to exist: ``save_steps`` is a multiple."""
        eval_strategy = plain(self.eval_strategy)
        if self.save_strategy is None:
            self.settle("save_strategy", "epoch" if eval_strategy == "epoch" else "steps", "default")
        if self.eval_steps is None:
            small = self.save_steps is not None and 1 <= self.save_steps < 100
            self.settle("eval_steps", self.save_steps if small else 100, "as often as it saves" if small else "default")
        every = float(self.eval_steps or 100)
        if self.save_steps is None:
            multiple = int(max(every, 500 // every * every)) if eval_strategy == "steps" and every >= 1 else 500
            self.settle("save_steps", multiple, "default" if multiple == 500 else "a multiple of eval_steps")
        obstacle = self._obstacle_to_the_best(every)
        if self.load_best_model_at_end is None:
            self.settle("load_best_model_at_end", not obstacle, obstacle or "there is an evaluation")
        elif self.load_best_model_at_end and obstacle:
            raise UserError(f"--load_best_model_at_end True needs checkpoints where it evaluates, but {obstacle}")

    def _obstacle_to_the_best(self, every: float) -> str:
        """Why the best checkpoint would not be there at the end; empty when it would."""
        eval_strategy, save_strategy = plain(self.eval_strategy), plain(self.save_strategy)
        if eval_strategy == "no":
            return "there is no evaluation"
        if save_strategy not in (eval_strategy, "best"):
            return f"--save_strategy is {save_strategy} and --eval_strategy is {eval_strategy}"
        if save_strategy == "steps" and float(self.save_steps or 500) % every != 0:
            return f"--save_steps {self.save_steps:g} is no multiple of --eval_steps {every:g}"
        return ""

    def _settle_judging(self) -> None:
        evaluates = plain(self.eval_strategy) != "no"
        self.eval_on_start = self.eval_on_start and evaluates
        if self.eval_generate is None:
            self.settle("eval_generate", evaluates, "there is an evaluation" if evaluates else "there is no evaluation")
        if self.metric_for_best_model is None and self.load_best_model_at_end:
            metric = "eval_cer" if self.eval_generate else "eval_loss"
            self.settle(
                "metric_for_best_model", metric, "judged by reading" if self.eval_generate else "nothing is read"
            )
        if self.per_device_eval_batch_size is None:
            self.settle("per_device_eval_batch_size", 8, "for the loss; reading follows the free memory")
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise UserError("--early_stopping_patience needs an evaluation and --load_best_model_at_end True")
        if self.metric_for_best_model and getattr(self, "greater_is_better", None) is None:
            lower_is_better = re.search("loss|cer|wer|repetition|entropy", self.metric_for_best_model)
            self.greater_is_better = lower_is_better is None

    def _settle_reporting(self) -> None:
        if self.report_to is None:
            for tracker, ready, why in (
                ("wandb", installed("wandb") and _wandb_logged_in(), "wandb is installed and logged in"),
                ("tensorboard", installed("tensorboard"), "tensorboard is installed, wandb is not logged in"),
            ):
                if ready:
                    self.settle("report_to", [tracker], why)
                    return
            self.settle("report_to", ["none"], "no tracker is installed and logged in")
        elif "wandb" in listed(self.report_to) and not _wandb_logged_in():
            os.environ.setdefault("WANDB_MODE", "offline")  # it would stop and ask for a login otherwise
            logger.warning("wandb has no login: it records offline; `wandb login`, then `wandb sync`, sends the run")

    def _refuse_contradictions(self) -> None:
        of_accelerate = (os.environ.get(f"ACCELERATE_USE_{name}", "") for name in ("FSDP", "DEEPSPEED"))
        shares = self.fsdp or self.deepspeed or any(value.lower() in ("1", "true") for value in of_accelerate)
        if self.mtp == "train" and shares:
            raise UserError(
                "--mtp train works without FSDP and DeepSpeed only; leave it out, and run `glm-ocr-finetune mtp` on the "
                "finished model"
            )
        if self.fp16 and self.bf16:
            raise UserError("--fp16 True and --bf16 True exclude each other; give one of them")
        if self.fp16 and not (torch.accelerator.is_available() and not self.use_cpu):
            raise UserError("--fp16 True needs a GPU; leave it out to train in fp32 on a CPU")
        if self.tokens_per_batch and self.train_sampling_strategy == "sequential":
            raise UserError(
                "--tokens_per_batch sorts samples by length; it excludes --train_sampling_strategy sequential"
            )
        if self.fsdp and int(os.environ.get("WORLD_SIZE", "1")) == 1:
            raise UserError(
                "--fsdp shards over several processes, and this is the only one; start two or more with torchrun or "
                "accelerate launch"
            )
        if self.local_rank not in (-1, int(os.environ.get("LOCAL_RANK", "-1"))):
            raise UserError(
                f"--local_rank {self.local_rank} is not LOCAL_RANK; start with torchrun or accelerate launch"
            )


def build(values: Mapping[str, Any]) -> TrainingArguments:
    """``TrainingArguments`` with those of the values that are its fields.

    Raises:
        UserError: the installed transformers or TRL does not know an argument, or refuses it.
    """
    names = {one.name for one in fields(TrainingArguments)}
    if unknown := [name for name in values if name in BY_NAME and name not in names]:
        raise UserError(
            f"--{unknown[0]} is not known to the installed transformers {version('transformers')} and "
            f"trl {version('trl')}; upgrade them, or leave it out"
        )
    return TrainingArguments(**{name: value for name, value in values.items() if name in names})


@contextlib.contextmanager
def one_line(given: Iterable[str]) -> Iterator[None]:
    """Turn what the constructors of TRL and transformers raise into one line that names a given flag."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError, RuntimeError, NotImplementedError) as error:
        message = _one_line(error)
        named = [name for name in given if re.search(rf"\b{name}\b", message)]
        for name in named:
            message = re.sub(rf"(?<!-)\b{name}\b", f"--{name}", message, count=1)
        of_trl = [f"--{name}" for name in given if name in BY_NAME]
        raise UserError(message if named or not of_trl else f"{message} (from {' '.join(of_trl)})") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _wandb_logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return True
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return file.is_file() and netrc.netrc(str(file)).authenticators("api.wandb.ai") is not None
    except (netrc.NetrcParseError, OSError):
        return False
