"""What was not given is settled in one place, with the reason; what cannot work is refused there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.errors import UserError


def settled(**given: Any) -> TrainingArguments:
    return TrainingArguments(output_dir="out", **{"report_to": "none"} | given)


@pytest.mark.parametrize(("use_lora", "rate"), [(True, 1e-4), (False, 1e-5)])
def test_the_learning_rate_follows_the_method_unless_it_is_given(use_lora: bool, rate: float) -> None:
    arguments = settled()
    arguments.settle_learning_rate(use_lora)
    assert arguments.learning_rate == rate
    assert "LoRA" in arguments.origins["learning_rate"] or not use_lora
    given = settled(learning_rate=1e-5)
    given.settle_learning_rate(use_lora)
    assert given.learning_rate == 1e-5
    assert "learning_rate" not in given.origins


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_a_cpu_trains_in_fp32_without_checkpointing() -> None:
    arguments = settled()
    assert (arguments.bf16, arguments.fp16, arguments.gradient_checkpointing) == (False, False, False)
    assert arguments.use_cpu
    assert arguments.dataloader_num_workers == 0
    assert arguments.origins["bf16"] == "fp32 on a CPU"


@pytest.mark.parametrize(
    ("given", "eval_steps", "save_steps", "best"),
    [
        ({}, 100, 500, True),
        ({"eval_steps": 200}, 200, 400, True),
        ({"save_steps": 20}, 20, 20, True),
        ({"eval_steps": 30, "save_steps": 40}, 30, 40, False),
        ({"eval_strategy": "no"}, 100, 500, False),
    ],
)
def test_saving_meets_evaluation(given: dict[str, Any], eval_steps: int, save_steps: int, best: bool) -> None:
    arguments = settled(**given)
    assert (arguments.eval_steps, arguments.save_steps) == (eval_steps, save_steps)
    assert arguments.load_best_model_at_end is best


@pytest.mark.parametrize(
    ("metric", "greater"), [("eval_cer", False), ("eval_stop_rate", True), ("eval_loss", False), ("eval_wer", False)]
)
def test_better_is_known_for_each_metric(metric: str, greater: bool) -> None:
    assert settled(metric_for_best_model=metric).greater_is_better is greater


def test_the_best_checkpoint_is_judged_by_reading_where_there_is_reading() -> None:
    assert settled().metric_for_best_model == "eval_cer"
    assert settled(eval_generate=False).metric_for_best_model == "eval_loss"


def test_without_evaluation_nothing_waits_for_one() -> None:
    arguments = settled()
    arguments.without_evaluation("nothing is held back")
    assert (arguments.eval_strategy, arguments.eval_generate, arguments.load_best_model_at_end) == ("no", False, False)
    assert arguments.origins["eval_strategy"] == "nothing is held back"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"warmup_steps": 5, "warmup_ratio": 0.1}, "--warmup_steps 5 and --warmup_ratio 0.1"),
        ({"warmup_ratio": 1.0}, "--warmup_ratio is 1"),
        ({"eval_samples": 0}, "--eval_samples is 0"),
        ({"early_stopping_patience": 2, "eval_strategy": "no"}, "--early_stopping_patience"),
        ({"max_length": 0}, "--max_length is 0"),
        ({"tokens_per_batch": -1}, "--tokens_per_batch is -1"),
        ({"packing": True}, "--packing"),
        ({"torch_compile": True}, "--torch_compile"),
    ],
)
def test_what_cannot_work_names_the_flag(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settled(**given)


def test_trackers_are_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from glm_ocr_finetune import training_args

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    installed: set[str] = set()
    monkeypatch.setattr(training_args, "_installed", lambda package: package in installed)
    assert settled(report_to=None).origins["report_to"] == "no tracker is installed and logged in"
    with pytest.raises(UserError, match=r"pip install 'glm-ocr-finetune\[wandb\]'"):
        settled(report_to="wandb")
