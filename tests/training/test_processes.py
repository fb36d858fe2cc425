"""One process for several GPUs, and ranks that share their weights: told before anything is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.train import resolve
from glm_ocr_finetune.training.processes import (
    refuse_one_process_for_many_gpus,
    settle_sharding,
    sharding_of,
    share_weights,
)


def arguments(**changes: Any) -> TrainingArguments:
    return TrainingArguments(**{"output_dir": "unused", "report_to": "none"} | changes)


def test_several_gpus_in_one_process_name_the_command() -> None:
    training = arguments()
    assert training.n_gpu <= 1
    refuse_one_process_for_many_gpus(training)
    training._n_gpu = 4  # what transformers counts
    with pytest.raises(UserError, match=r"4 GPUs are visible .* torchrun --nproc_per_node 4 finetune.py"):
        resolve(ModelArguments(model_name="tiny"), DataArguments(dataset_name="x"), training)
    resolve(ModelArguments(model_name="tiny"), DataArguments(dataset_name="x", dry_run=True), training)


@pytest.fixture
def fsdp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As accelerate starts the ranks of FSDP."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    for name in ("STATE_DICT_TYPE", "CPU_RAM_EFFICIENT_LOADING"):
        monkeypatch.setenv(f"FSDP_{name}", "not settled")


def with_deepspeed(monkeypatch: pytest.MonkeyPatch, **configuration: Any) -> TrainingArguments:
    """Arguments as transformers leaves them where there is a DeepSpeed configuration."""
    training = arguments()
    stage = configuration.get("zero_optimization", {}).get("stage", 0)
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config=configuration)
    monkeypatch.setattr(training, "deepspeed_plugin", plugin)
    return training


def test_what_ranks_share_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sharding_of(arguments()) == ""
    for stage, shares in ((2, False), (3, True)):
        training = with_deepspeed(monkeypatch, zero_optimization={"stage": stage})
        assert (sharding_of(training), share_weights(training)) == (f"ZeRO-{stage}", shares)


def test_fsdp_loads_and_saves_whole_models(fsdp: None) -> None:
    training = arguments()
    assert (sharding_of(training), share_weights(training)) == ("FSDP", True)
    settle_sharding(training)
    assert os.environ["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "False"
    assert (training.eval_generate, training.cache_vision_features) == (True, "auto")


def test_what_does_not_work_with_it_is_refused(fsdp: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(UserError, match="FSDP 1 is not supported; give fsdp_version: 2"):
        settle_sharding(arguments())
    own = {"optimizer": {"type": "AdamW"}, "zero_optimization": {"stage": 2}}
    with pytest.raises(UserError, match="the DeepSpeed configuration has optimizer; leave them out"):
        settle_sharding(with_deepspeed(monkeypatch, **own))


def test_the_configurations_of_the_examples_are_such(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = Path(__file__).parents[2] / "examples" / "configs"
    for stage in (2, 3):
        configuration = json.loads((configs / f"zero{stage}.json").read_text("utf-8"))
        training = with_deepspeed(monkeypatch, **configuration)
        assert sharding_of(training) == f"ZeRO-{stage}"
        settle_sharding(training)
    fsdp = yaml.safe_load((configs / "fsdp2.yaml").read_text("utf-8"))
    assert (fsdp["distributed_type"], fsdp["fsdp_config"]["fsdp_version"]) == ("FSDP", 2)
    zero = yaml.safe_load((configs / "zero3.yaml").read_text("utf-8"))
    assert (configs.parents[1] / zero["deepspeed_config"]["deepspeed_config_file"]).is_file()
