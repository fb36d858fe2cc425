"""Arguments of TRL that are accepted change what is trained, logged or saved: three steps with and without each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawing import WORDS, write_lines

from glm_ocr_finetune.cli import main

pytestmark = pytest.mark.slow
Trained = Callable[..., tuple[bytes, list[dict[str, Any]], set[str]]]
PLAIN = ("--model_name", "tiny-random", "--report_to", "none", "--disable_tqdm", "True", "--logging_steps", "1")
PLAIN += ("--learning_rate", "1e-3", "--lr_scheduler_type", "constant", "--max_steps", "3")
PLAIN += ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1")
WITHOUT_EVALUATION = ("--eval_strategy", "no", "--save_strategy", "no")

CHANGES_WEIGHTS = [
    ("bf16", "True"),
    ("padding_free", "False"),
    ("train_sampling_strategy", "sequential"),
    ("train_sampling_strategy", "group_by_length"),
    ("neftune_noise_alpha", "5"),
    ("loss_type", "dft"),
    ("weight_decay", "0.1"),
    ("adam_beta1", "0.5"),
    ("adam_beta2", "0.5"),
    ("adam_epsilon", "1e-2"),
    ("max_grad_norm", "0.01"),
    ("seed", "7"),
    ("data_seed", "7"),
    ("lr_scheduler_type", "linear"),
    *(("optim", name) for name in ("sgd", "adagrad", "rmsprop", "adafactor")),
    ("optim", "sgd", "--optim_args", "momentum=0.9"),
    ("lr_scheduler_type", "polynomial", "--lr_scheduler_kwargs", '{"power": 3.0}'),
    ("lr_scheduler_type", "constant_with_warmup", "--warmup_steps", "2"),
]
KEEPS_WEIGHTS = [  # another way to the same result
    ("gradient_checkpointing", "True"),
    ("activation_checkpointing", "True", "--activation_checkpointing_kwargs", '{"every_n_layers": 2}'),
    ("gradient_checkpointing", "True", "--gradient_checkpointing_kwargs", '{"selective": true}'),
    ("dataloader_num_workers", "1", "--dataloader_prefetch_factor", "2"),
    ("dataloader_num_workers", "1", "--dataloader_persistent_workers", "True"),
    ("full_determinism", "True"),
    ("debug", "underflow_overflow"),
]
CHANGES_LOG = [
    (("include_num_input_tokens_seen", "all"), "num_input_tokens_seen"),
    (("include_num_input_tokens_seen", "non_padding"), "num_input_tokens_seen"),
    (("skip_memory_metrics", "False"), "train_mem_cpu_alloc_delta"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The weights, the log and the folders of a run."""
    folder = tmp_path_factory.mktemp("act")
    write_lines(folder / "lines", "train", [" ".join(WORDS[: 1 + index % 3]) for index in range(11)])

    def run(*words: str) -> tuple[bytes, list[dict[str, Any]], set[str]]:
        output = folder / f"out{len(list(folder.iterdir()))}"
        common = ("train", *PLAIN, "--dataset_name", str(folder / "lines"), "--output_dir", str(output))
        assert main([*common, *words]) == 0
        log = json.loads((output / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        checkpoints = {path.name for path in output.glob("checkpoint-*")}
        return (output / "model.safetensors").read_bytes(), log, checkpoints

    return run


@pytest.fixture(scope="module")
def plain(trained: Trained) -> bytes:
    return trained(*WITHOUT_EVALUATION)[0]


@pytest.mark.parametrize("words", CHANGES_WEIGHTS, ids=" ".join)
def test_other_weights(trained: Trained, plain: bytes, words: tuple[str, ...]) -> None:
    assert trained(*WITHOUT_EVALUATION, f"--{words[0]}", *words[1:])[0] != plain


@pytest.mark.parametrize("words", KEEPS_WEIGHTS, ids=" ".join)
def test_the_same_weights_another_way(trained: Trained, plain: bytes, words: tuple[str, ...]) -> None:
    assert trained(*WITHOUT_EVALUATION, f"--{words[0]}", *words[1:])[0] == plain


@pytest.mark.parametrize(("words", "key"), CHANGES_LOG, ids=lambda value: str(value))
def test_another_log(trained: Trained, words: tuple[str, ...], key: str) -> None:
    _, log, _ = trained(*WITHOUT_EVALUATION, f"--{words[0]}", *words[1:])
    assert any(key in row for row in log)


def test_an_incomplete_last_batch_is_left_out(trained: Trained) -> None:
    words = (*WITHOUT_EVALUATION, "--max_steps", "-1", "--num_train_epochs", "2")
    steps = [trained(*words, "--dataloader_drop_last", drop)[1][-1]["step"] for drop in ("False", "True")]
    assert steps == [12, 10]


@pytest.mark.parametrize(
    ("words", "evaluations", "checkpoints"),
    [
        ((), [1, 2, 3], {"checkpoint-1", "checkpoint-2", "checkpoint-3"}),
        (("--eval_on_start", "True"), [0, 1, 2, 3], {"checkpoint-1", "checkpoint-2", "checkpoint-3"}),
        (("--eval_delay", "2"), [2, 3], {"checkpoint-2", "checkpoint-3"}),
        (("--save_strategy", "no"), [1, 2, 3], set()),
        (("--save_steps", "2"), [1, 2, 3], {"checkpoint-2", "checkpoint-3"}),
    ],
    ids=str,
)
def test_when_it_evaluates_and_saves(
    trained: Trained, words: tuple[str, ...], evaluations: list[int], checkpoints: set[str]
) -> None:
    given = ("--eval_split_size", "0.2", "--eval_steps", "1")
    _, log, saved = trained(*given, *(words if "--save_steps" in words else ("--save_steps", "1", *words)))
    assert [row["step"] for row in log if "eval_loss" in row] == evaluations
    assert saved <= checkpoints
    assert bool(saved) == bool(checkpoints)


def test_sequential_means_the_order_of_the_data_set(trained: Trained, tmp_path: Path) -> None:
    """The first loss of each epoch is that of the first two samples, whatever the seed."""
    words = (*WITHOUT_EVALUATION, "--train_sampling_strategy", "sequential", "--max_steps", "1")
    first = [trained(*words, "--seed", seed)[1][0]["loss"] for seed in ("1", "2")]
    assert first[0] == first[1]
