"""Small runs for tests of what happens in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer

BuildTrainer = Callable[..., Any]


@pytest.fixture
def build_trainer(line_folder: Path, tmp_path: Path) -> BuildTrainer:
    """Makes trainers of the tiny model of random weights on the twelve lines: one batch of four a step."""

    def build(evaluate: bool = False, **changes: Any) -> Any:
        torch.manual_seed(0)
        model, processor = load_model("tiny-random")
        rows = load_splits(DataArguments(str(line_folder)), PromptRenderer(processor), 2048, 0, evaluate=False).train
        defaults: dict[str, Any] = {
            "output_dir": str(tmp_path / "out"),
            "max_steps": 6,
            "eval_strategy": "steps" if evaluate else "no",
            "eval_generate": False,
            "eval_steps": 2,
            "save_steps": 2,
            "logging_steps": 1,
            "gradient_accumulation_steps": 1,
            "warmup_ratio": 0.0,
            "learning_rate": 1e-3,
            "report_to": "none",
            "disable_tqdm": True,
        }
        arguments = TrainingArguments(**defaults | changes)
        return create_trainer(model, processor, rows, arguments, rows.select([0, 1]) if evaluate else None)

    return build
