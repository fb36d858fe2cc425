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
        ({"torch_compile_mode": "default"}, "--torch_compile_mode"),
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
    monkeypatch.setattr(training_args, "installed", lambda package: False)
    monkeypatch.setattr("glm_ocr_finetune.argument_checks.installed", lambda package: False)
    assert settled(report_to=None).origins["report_to"] == "no tracker is installed and logged in"
    with pytest.raises(UserError, match=r"pip install 'glm-ocr-finetune\[wandb\]'"):
        settled(report_to="wandb")


@pytest.mark.parametrize(
    ("given", "save_strategy", "best", "why"),
    [
        ({}, "steps", True, "there is an evaluation"),
        ({"eval_strategy": "epoch"}, "epoch", True, "there is an evaluation"),
        ({"save_strategy": "no"}, "no", False, "--save_strategy is no and --eval_strategy is steps"),
        ({"save_strategy": "epoch"}, "epoch", False, "--save_strategy is epoch and --eval_strategy is steps"),
        ({"save_strategy": "best"}, "best", True, "there is an evaluation"),
    ],
)
def test_a_given_save_strategy_stays(given: dict[str, Any], save_strategy: str, best: bool, why: str) -> None:
    arguments = settled(**given)
    assert (arguments.save_strategy.value, arguments.load_best_model_at_end) == (save_strategy, best)
    assert arguments.origins["load_best_model_at_end"] == why


def test_a_warm_up_is_named_once_and_only_where_there_is_one() -> None:
    arguments = settled()
    assert (arguments.warmup_steps, arguments.origins["warmup_ratio"]) == (0.1, "official recipe")
    assert "warmup_steps" not in arguments.origins  # transformers' name for the ratio, not the user's
    constant = settled(lr_scheduler_type="constant")
    assert (constant.warmup_steps, constant.warmup_ratio) == (0, None)


def test_checkpointing_has_two_names_and_one_value() -> None:
    names = ("gradient_checkpointing", "activation_checkpointing")  # the second from transformers 5.20 on
    for name in (one for one in names if hasattr(TrainingArguments, one)):
        arguments = settled(**{name: True, f"{name}_kwargs": {"use_reentrant": False}})
        assert arguments.gradient_checkpointing is True
        assert arguments.gradient_checkpointing_kwargs == {"use_reentrant": False}
    with pytest.raises(UserError, match="--gradient_checkpointing_kwargs has no nonsense"):
        settled(gradient_checkpointing=True, gradient_checkpointing_kwargs={"nonsense": 1})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr_scheduler_type": "warmup_stable_decay"}, "needs --lr_scheduler_kwargs: .*num_decay_steps"),
        ({"lr_scheduler_kwargs": {"num_cycle": 2}}, "does not work with these --lr_scheduler_kwargs.*num_cycle"),
        ({"optim": "sgd", "optim_args": "momentum"}, "--optim_args momentum.*expected name=value"),
        ({"optim": "sgd", "optim_args": "momentum=x"}, "--optim_args momentum=x"),
        ({"fp16": True}, "--fp16 True needs a GPU"),
        ({"bf16": True, "fp16": True}, "exclude each other"),
        ({"fsdp": "full_shard"}, "--fsdp shards over several processes"),
        ({"push_to_hub": True}, "--push_to_hub True: .* cannot be reached"),
        ({"tokens_per_batch": 500, "train_sampling_strategy": "sequential"}, "excludes"),
        ({"local_rank": 3}, "--local_rank 3 is not LOCAL_RANK"),
        ({"tf32": True}, "--tf32 requires"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"},
            "--lr_scheduler_type .*requires an eval",
        ),
        ({"fsdp_config": {"version": 2}}, "--fsdp_config needs --fsdp"),
    ],
)
def test_what_would_be_told_late_is_told_now(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        settled(**given)
    assert "\n" not in str(refused.value)


def test_an_argument_that_the_installed_release_lacks_is_named() -> None:
    from glm_ocr_finetune import training_args

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_args, "BY_NAME", {"of_the_future": None})
        with pytest.raises(UserError, match="--of_the_future is not known to the installed transformers"):
            training_args.build({"of_the_future": 1})
