"""``TrainingArguments``: TRL's ``SFTConfig`` with this package's defaults, and where each settled value came from."""

from __future__ import annotations

import importlib.util
import logging
import netrc
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from trl import SFTConfig

from .args import DEFAULT_LENGTH, TrainingDefaults
from .errors import UserError

logger = logging.getLogger(__name__)

LEARNING_RATES = {  # (tiny model, LoRA) -> rate and reason
    (False, False): (1e-5, "default for full fine-tuning"),  # both from the official recipe, zai-org/GLM-OCR
    (False, True): (1e-4, "default for LoRA"),
    (True, False): (1e-3, "the tiny model needs a hundred times the rate of GLM-OCR"),  # both by trial: docs/log.md
    (True, True): (3e-3, "the tiny model needs thirty times the rate of GLM-OCR"),
}


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
        self._settle_precision()
        self._settle_device()
        self._settle_warmup()
        self._settle_steps()
        self._settle_judging()
        self._settle_reporting()
        if self.max_length is None:
            self.settle("max_length", DEFAULT_LENGTH, "default; more where the data needs it and the memory holds it")
        self._refuse_what_cannot_work()
        # Labels are cut by nobody here: --max_length is kept by the pixel budget and by setting samples aside.
        self.remove_unused_columns = False
        super().__post_init__()

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
        if not torch.accelerator.is_available():
            # without it the ranks of torchrun do not join on a CPU, and each trains on everything
            self.settle("use_cpu", True, "there is no accelerator")
        if not cuda:
            self.dataloader_pin_memory = False  # pinned memory is for copies to a GPU
        if self.dataloader_num_workers is None:
            share = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            workers, why = (min(4, share - 1), "images are read ahead") if cuda else (0, "a CPU has no core to spare")
            self.settle("dataloader_num_workers", max(workers, 0), why)
        if self.gradient_checkpointing is None:
            why = "saves GPU memory" if cuda else "not needed on a CPU"
            self.settle("gradient_checkpointing", cuda, why)
        if getattr(self, "activation_checkpointing", False) is None:  # its name from transformers 5.20 on
            self.activation_checkpointing = self.gradient_checkpointing

    def _settle_warmup(self) -> None:
        if self.warmup_steps and self.warmup_ratio is not None:
            raise UserError(
                f"--warmup_steps {self.warmup_steps:g} and --warmup_ratio {self.warmup_ratio:g} contradict each other; "
                "give one of them"
            )
        if self.warmup_ratio is not None and not 0 <= self.warmup_ratio < 1:
            raise UserError(f"--warmup_ratio is {self.warmup_ratio:g}; it is a share of the steps, from 0 to below 1")
        if self.warmup_steps is None:
            if self.warmup_ratio is None:
                self.settle("warmup_ratio", 0.1, "official recipe")
            # transformers 5 has no warmup_ratio: a number of steps below 1 is its ratio
            self.settle("warmup_steps", self.warmup_ratio, "the warm-up ratio")

    def _settle_steps(self) -> None:
        """Evaluation and saving must meet for the best checkpoint to exist: ``save_steps`` is a multiple."""
        eval_strategy, save_strategy = _plain(self.eval_strategy), _plain(self.save_strategy)
        if self.eval_steps is None:
            small = self.save_steps is not None and 1 <= self.save_steps < 100
            self.settle("eval_steps", self.save_steps if small else 100, "as often as it saves" if small else "default")
        every = float(self.eval_steps or 100)
        if self.save_steps is None:
            multiple = int(max(every, 500 // every * every)) if eval_strategy == "steps" and every >= 1 else 500
            self.settle("save_steps", multiple, "default" if multiple == 500 else "a multiple of eval_steps")
        meets = eval_strategy != "steps" or float(self.save_steps or 500) % every == 0
        if self.load_best_model_at_end is None:
            why = "there is an evaluation" if meets else "save_steps is no multiple of eval_steps"
            if eval_strategy == "no":
                meets, why = False, "there is no evaluation"
            self.settle("load_best_model_at_end", meets, why)
        elif self.load_best_model_at_end and not meets:
            raise UserError(
                f"--load_best_model_at_end True needs checkpoints where it evaluates, but --save_steps "
                f"{self.save_steps:g} is no multiple of --eval_steps {every:g}; change one of them"
            )
        if self.load_best_model_at_end and save_strategy not in (eval_strategy, "best"):
            self.settle("save_strategy", eval_strategy, "the best checkpoint must be saved when it is evaluated")

    def _settle_judging(self) -> None:
        evaluates = _plain(self.eval_strategy) != "no"
        if self.eval_generate is None:
            self.settle("eval_generate", evaluates, "there is an evaluation" if evaluates else "there is no evaluation")
        if self.metric_for_best_model is None and self.load_best_model_at_end:
            metric = "eval_cer" if self.eval_generate else "eval_loss"
            self.settle(
                "metric_for_best_model", metric, "judged by reading" if self.eval_generate else "nothing is read"
            )
        if self.per_device_eval_batch_size is None:
            self.settle("per_device_eval_batch_size", 8, "for the loss; reading follows the free memory")
        if self.eval_samples is not None and self.eval_samples < 1:
            raise UserError(f"--eval_samples is {self.eval_samples}; it must be at least 1 (or --eval_generate False)")
        if self.early_stopping_patience is not None and not self.load_best_model_at_end:
            raise UserError("--early_stopping_patience needs an evaluation and --load_best_model_at_end True")
        if self.metric_for_best_model and getattr(self, "greater_is_better", None) is None:
            lower_is_better = re.search("loss|cer|wer|repetition", self.metric_for_best_model)
            self.greater_is_better = lower_is_better is None

    def _settle_reporting(self) -> None:
        if self.report_to is None:
            for tracker, ready, why in (
                ("wandb", _installed("wandb") and _wandb_logged_in(), "wandb is installed and logged in"),
                ("tensorboard", _installed("tensorboard"), "tensorboard is installed, wandb is not logged in"),
            ):
                if ready:
                    self.settle("report_to", tracker, why)
                    return
            self.settle("report_to", "none", "no tracker is installed and logged in")
            return
        named = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to)
        for tracker in {"wandb", "tensorboard"} & set(named):
            if not _installed(tracker):
                raise UserError(
                    f"--report_to {tracker} needs the package {tracker}: pip install 'glm-ocr-finetune[{tracker}]', "
                    "or --report_to none"
                )
        if "wandb" in named and not _wandb_logged_in():
            os.environ.setdefault("WANDB_MODE", "offline")  # it would stop and ask for a login otherwise
            logger.warning("wandb has no login: it records offline; `wandb login`, then `wandb sync`, sends the run")

    def _refuse_what_cannot_work(self) -> None:
        if self.packing:
            raise UserError(
                "--packing is TRL's and does not work with images; --padding_free True is what pads nothing"
            )
        if self.torch_compile:
            raise UserError(
                "--torch_compile compiles anew for every size of image and batch, which takes longer than it saves; "
                "leave it out"
            )
        if self.tokens_per_batch is not None and self.tokens_per_batch < 1:
            raise UserError(f"--tokens_per_batch is {self.tokens_per_batch}; it must be a number of tokens above zero")
        if self.max_length is not None and self.max_length < 1:
            raise UserError(f"--max_length is {self.max_length}; it must be a number of tokens above zero")
        if self.gradient_accumulation_steps < 1 or self.per_device_train_batch_size < 1:
            raise UserError("--per_device_train_batch_size and --gradient_accumulation_steps must be at least 1")


def _plain(strategy: object) -> str:
    return str(getattr(strategy, "value", strategy))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _wandb_logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return True
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return file.is_file() and netrc.netrc(str(file)).authenticators("api.wandb.ai") is not None
    except (netrc.NetrcParseError, OSError):
        return False
