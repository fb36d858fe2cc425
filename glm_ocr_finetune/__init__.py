"""Fine-tune GLM-OCR: what is trained is what is served, and it is judged by reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .args import DataArguments, ModelArguments
    from .data.samples import format_for_vlm
    from .errors import UserError
    from .model.loading import load_model
    from .training.trainer import create_trainer
    from .training_args import TrainingArguments
    from .tuned import Tuned, TunedScores, finetune, load

_HOMES = {
    "ModelArguments": "args",
    "DataArguments": "args",
    "TrainingArguments": "training_args",
    "load_model": "model",
    "format_for_vlm": "data",
    "create_trainer": "training.trainer",
    "finetune": "tuned",
    "load": "tuned",
    "Tuned": "tuned",
    "TunedScores": "tuned",
    "UserError": "errors",
}

__all__ = [
    "DataArguments",
    "ModelArguments",
    "TrainingArguments",
    "Tuned",
    "TunedScores",
    "UserError",
    "create_trainer",
    "finetune",
    "format_for_vlm",
    "load",
    "load_model",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
