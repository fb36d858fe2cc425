"""No training argument is accepted and does nothing: each is refused with its reason, or said to be idle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.argument_checks import RANGES, check_range, refuse
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.sft_arguments import ARGUMENTS, Argument

ANOTHER = {"int": 7, "float": 0.5, "str": "x", "list": ["x"], "dict": {"x": 1}, "file": {"x": 1}}


@pytest.mark.parametrize("one", [one for one in ARGUMENTS if one.only is not None], ids=lambda one: one.name)
def test_what_has_no_effect_is_refused_with_its_reason(one: Argument) -> None:
    assert one.only is not None
    refuse({one.name: one.only[0]})
    other = not one.only[0] if one.kind == "bool" else ANOTHER[one.kind]
    with pytest.raises(UserError) as refused:
        refuse({one.name: other})
    assert str(refused.value) == f"--{one.name} {other} is not supported: {one.does}"


@pytest.mark.parametrize(("name", "within"), RANGES.items())
def test_a_number_out_of_range_is_refused_with_the_range(name: str, within: Any) -> None:
    for value in (-2, float("nan")):
        with pytest.raises(UserError, match=f"--{name} is .*; it must be "):
            check_range(name, value, within)
    check_range(name, None, within)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"report_to": "mlflow"}, "--report_to mlflow needs the package mlflow: pip install mlflow"),
        ({"report_to": ["none", "comet_ml"]}, "--report_to comet_ml needs the package comet_ml: pip install comet-ml"),
        ({"report_to": "wandbb"}, "--report_to wandbb is no tracker; did you mean wandb"),
        ({"optim": "galore_adamw"}, "--optim galore_adamw needs the package galore_torch: pip install galore-torch"),
        (
            {"optim": "adamw_8bit"},
            r"--optim adamw_8bit needs the package bitsandbytes: pip install 'glm-ocr-finetune\[4bit\]'",
        ),
        ({"load_in_4bit": True}, "--load_in_4bit True needs the package bitsandbytes"),
        ({"deepspeed": "ds.json"}, "--deepspeed ds.json needs the package deepspeed"),
    ],
)
def test_a_missing_package_is_named_with_the_flag(
    given: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glm_ocr_finetune.argument_checks.installed", lambda package: False)
    with pytest.raises(UserError, match=message):
        refuse(given)


def test_what_needs_nothing_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glm_ocr_finetune.argument_checks.installed", lambda package: False)
    refuse({"report_to": "none", "optim": "adamw_torch", "load_in_4bit": False, "learning_rate": None})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hub_strategy": "end"}, "--hub_strategy needs --push_to_hub True"),
        ({"pad_to_multiple_of": 8}, "--pad_to_multiple_of needs --padding_free False"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, "needs --gradient_checkpointing True"),
        ({"dataloader_persistent_workers": True}, "needs --dataloader_num_workers 1 or more"),
        ({"lr_scheduler_type": "constant", "warmup_ratio": 0.2}, "--warmup_ratio needs an --lr_scheduler_type with"),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"a": 1}}, "--lr_scheduler_kwargs needs another"),
        ({"optim": "sgd", "adam_beta1": 0.5}, "--adam_beta1 needs an --optim of the Adam family"),
        ({"optim_args": "momentum=0.9"}, "--optim_args needs an --optim that reads it"),
        ({"optim_target_modules": ["q_proj"]}, "--optim_target_modules needs a galore or apollo --optim"),
        ({"cache_vision_features": "off", "vision_cache_gb": 2.0}, "--vision_cache_gb needs a --cache_vision_features"),
        ({"dataloader_drop_last": True, "tokens_per_batch": 500}, "--dataloader_drop_last needs batches of a fixed"),
        ({"activation_offloading": True}, "--activation_offloading needs a GPU"),
        ({"project": "x"}, "--project needs --report_to trackio"),
    ],
)
def test_a_flag_without_the_flag_it_needs_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        TrainingArguments(output_dir=str(tmp_path), **{"report_to": "none"} | given)


@pytest.fixture
def _own_logger(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package logs goes to ``caplog`` once, whatever tests before have made of its logger."""
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "handlers", [caplog.handler])
    monkeypatch.setattr(logging.getLogger("glm_ocr_finetune"), "propagate", False)


@pytest.mark.usefixtures("_own_logger")
@pytest.mark.parametrize(
    ("given", "name", "need"),
    [
        ({"run_name": "x"}, "run_name", "an experiment tracker"),
        ({"torch_empty_cache_steps": 5}, "torch_empty_cache_steps", "a GPU"),
        ({"ddp_timeout": 60}, "ddp_timeout", "several processes"),
        ({"eval_strategy": "no", "eval_steps": 5}, "eval_steps", "--eval_strategy steps"),
        ({"eval_strategy": "no", "eval_on_start": True}, "eval_on_start", "an evaluation"),
        ({"eval_generate": False, "eval_samples": 5}, "eval_samples", "reading at evaluation"),
        ({"save_strategy": "no", "save_steps": 5}, "save_steps", "--save_strategy steps"),
        ({"ignore_data_skip": True}, "ignore_data_skip", "--resume_from_checkpoint"),
        ({"max_steps": 5, "num_train_epochs": 2}, "num_train_epochs", "--max_steps to be left out"),
    ],
)
def test_what_this_run_leaves_idle_is_said(
    given: dict[str, Any], name: str, need: str, caplog: pytest.LogCaptureFixture
) -> None:
    TrainingArguments(output_dir="out", **{"report_to": "none"} | given)
    lines = [line for line in caplog.messages if line.startswith(f"--{name} has no effect here: it needs {need}")]
    assert len(lines) == 1


@pytest.mark.usefixtures("_own_logger")
def test_defaults_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    TrainingArguments(output_dir="out", report_to="none")
    assert not [line for line in caplog.messages if "no effect" in line]
