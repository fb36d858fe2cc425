"""One process for several GPUs, and ranks that share their weights: told before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.train import resolve
from glm_ocr_finetune.training.processes import refuse_one_process_for_many_gpus, settle_shared_weights


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
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As accelerate starts the ranks of FSDP."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")


def test_ranks_with_weights_of_their_own_keep_what_is_settled() -> None:
    training = arguments()
    settle_shared_weights(training, reads_a_probe=False)
    assert (training.eval_generate, training.cache_vision_features) == (True, "auto")


def test_ranks_that_share_their_weights_do_not_read_and_do_not_cache(shared: None) -> None:
    training = arguments()
    settle_shared_weights(training, reads_a_probe=False)
    assert (training.eval_generate, training.cache_vision_features) == (False, "off")
    assert training.metric_for_best_model == "eval_loss"
    assert "same forward passes" in training.origins["eval_generate"]


@pytest.mark.parametrize(
    ("changes", "reads_a_probe", "message"),
    [
        ({"eval_generate": True}, False, "--eval_generate"),
        ({"metric_for_best_model": "eval_cer"}, False, "--metric_for_best_model"),
        ({}, True, "--probe_dataset"),
        ({"cache_vision_features": "memory"}, False, "--cache_vision_features memory does not work with FSDP"),
    ],
)
def test_what_was_asked_for_is_refused(
    shared: None, changes: dict[str, Any], reads_a_probe: bool, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        settle_shared_weights(arguments(**changes), reads_a_probe)
