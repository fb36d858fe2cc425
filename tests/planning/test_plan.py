"""The plan: parts that add up, what needs less, sizes that parse, and figures that a real step confirms."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.model.loading import load_config
from glm_ocr_finetune.parse import parse_train, plan_size
from glm_ocr_finetune.planning.memory import Batch, Estimate, Method, Saving, saved_bytes

Run = Callable[..., tuple[int, str, str]]
FROZEN = ("vision tower", "multi-modal projector")
BATCH = Batch(tokens=1000, image_tokens=700, labels=250)
ARGUMENTS = ("train", "--model_name", "tiny-random", "--report_to", "none")


@pytest.fixture(scope="module")
def config(tiny_random: Path) -> Any:
    return load_config(str(tiny_random))


@pytest.fixture(scope="module")
def full(config: Any) -> Estimate:
    return Estimate(config, Method(FROZEN, None))


@pytest.fixture(scope="module")
def lora(config: Any) -> Estimate:
    return Estimate(config, Method(FROZEN, 8))


@pytest.mark.parametrize("accumulates", [False, True])
def test_the_parts_at_the_peak_add_up_to_it(full: Estimate, accumulates: bool) -> None:
    memory = full.memory(BATCH, Saving(accumulates=accumulates), cache=12345)
    assert memory.peak == sum(memory.at_peak.values())
    assert memory.at_peak["cache"] == 12345
    for alive in memory.moments.values():
        assert memory.peak >= sum(memory.by_part[name] for name in (*memory.ALWAYS, *alive))


def test_lora_needs_less_than_full(full: Estimate, lora: Estimate) -> None:
    whole, adapters = full.memory(BATCH, Saving()), lora.memory(BATCH, Saving())
    assert adapters.gradients < whole.gradients / 10
    assert adapters.optimizer < whole.optimizer / 10
    assert (whole.copies > 0, adapters.copies) == (True, 0)


def test_each_saving_saves_where_it_should(full: Estimate, lora: Estimate) -> None:
    plain = lora.memory(BATCH, Saving())
    assert lora.memory(BATCH, Saving(gradient_checkpointing=True)).activations < plain.activations / 4
    assert lora.memory(BATCH, Saving(load_in_4bit=True)).frozen < plain.frozen
    in_8_bit = full.memory(BATCH, Saving(eight_bit_optimizer=True)).optimizer
    assert in_8_bit < full.memory(BATCH, Saving()).optimizer


def test_a_trained_tower_keeps_activations(config: Any) -> None:
    assert Estimate(config, Method((), None)).vision > 0
    assert Estimate(config, Method(FROZEN, None)).vision == 0


@pytest.mark.parametrize(("use_lora", "dropout"), [(False, 0.0), (True, 0.0), (True, 0.05)])
def test_what_is_kept_is_what_a_real_step_keeps(
    use_lora: bool, dropout: float, line_folder: Path, tmp_path: Path, config: Any
) -> None:
    from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
    from glm_ocr_finetune.args import DataArguments
    from glm_ocr_finetune.data.splits import load_splits
    from glm_ocr_finetune.inputs.prompt import PromptRenderer

    model, processor = load_model("tiny-random", use_lora=use_lora, lora_dropout=dropout)
    samples = load_splits(DataArguments(str(line_folder)), PromptRenderer(processor), 2048, 0, evaluate=False).train
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    trainer = create_trainer(model, processor, samples, arguments)
    inputs = trainer.data_collator([samples[index] for index in range(4)])
    losses: list[torch.Tensor] = []
    kept = saved_bytes(lambda: losses.append(trainer.compute_loss(trainer.model.train(), inputs)), trainer.model)
    tokens = int(inputs["attention_mask"].sum())
    estimate = Estimate(config, Method(FROZEN, 8 if use_lora else None, lora_dropout=dropout, on_gpu=False))
    assert tokens * estimate.text == pytest.approx(kept, rel=0.1)


def test_parameters_are_those_of_the_real_model(config: Any, full: Estimate) -> None:
    from glm_ocr_finetune import load_model

    model, _ = load_model("tiny-random")
    real = {name: (value.numel(), value.requires_grad) for name, value in model.named_parameters()}
    assert {weight.name: (weight.size, weight.trained) for weight in full.weights} == real


@pytest.mark.parametrize(
    ("typed", "size"), [("8GB", 8 * 10**9), ("24gib", 24 * 2**30), ("7.5 GB", 7_500_000_000), ("True", None)]
)
def test_sizes(typed: str, size: int | None) -> None:
    assert plan_size(typed) == size


@pytest.mark.parametrize("typed", ["8potatoes", "8", "GB", "0GB", "-8GB", "8MB"])
def test_what_is_no_size_is_refused(typed: str) -> None:
    with pytest.raises(UserError, match=f"--plan {typed} is not the size of a GPU"):
        plan_size(typed)


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ([], None),
        (["--plan"], "True"),
        (["--plan", "--dry_run", "True"], "True"),
        (["--plan", "8GB"], "8GB"),
        (["--plan", "False"], None),
    ],
)
def test_the_flag_alone_and_with_a_size(words: list[str], plan: str | None) -> None:
    _, data_args, _, _ = parse_train(["--report_to", "none", *words], "finetune.py")
    assert data_args.plan == plan


def test_a_plan_leaves_nothing_behind(line_folder: Path, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "out"
    code, out, _ = run(*ARGUMENTS, "--dataset_name", line_folder, "--output_dir", output, "--plan")
    assert code == 0
    assert not output.exists()
    for words in (
        "Expected peak memory",
        "tokens per step",
        "with the vision tower",
        "with cached features",
        "whole run",
    ):
        assert words in out


def test_a_plan_for_a_gpu_prints_flags_that_parse(line_folder: Path, tmp_path: Path, run: Run) -> None:
    output = tmp_path / "out"
    code, out, _ = run(
        *ARGUMENTS, "--dataset_name", line_folder, "--output_dir", output, "--plan", "2GB", "--lora_rank", 4
    )
    assert code == 0
    assert not output.exists()
    assert "LoRA, rank 4" in out
    flags = re.search(r"^  (--.*)$", out, re.MULTILINE)
    assert flags
    model_args, _, training_args, _ = parse_train(["--report_to", "none", *flags[1].split()], "finetune.py")
    assert not model_args.use_lora
    assert training_args.per_device_train_batch_size * training_args.gradient_accumulation_steps == 8


def test_what_the_user_gave_is_kept(line_folder: Path, run: Run) -> None:
    given = ("--use_lora", "True", "--gradient_checkpointing", "True", "--per_device_train_batch_size", 2)
    code, out, _ = run(*ARGUMENTS, "--dataset_name", line_folder, *given, "--plan", "2GB")
    assert code == 0
    assert "full" not in out.split("The first that fits")[0]
    assert "2 x 2" in out
    assert "1 x 4" in out


def test_an_optimizer_that_was_given_is_kept(line_folder: Path, run: Run) -> None:
    code, out, _ = run(*ARGUMENTS, "--dataset_name", line_folder, "--optim", "paged_adamw_8bit", "--plan", "2GB")
    assert code == 0
    assert "--optim paged_adamw_8bit" in out
    assert "LoRA, rank 8, 4-bit, 8-bit optim" in out


def test_what_contradicts_itself_is_refused(line_folder: Path, run: Run) -> None:
    given = ("--use_lora", "False", "--load_in_4bit", "True")
    code, _, err = run(*ARGUMENTS, "--dataset_name", line_folder, *given, "--plan", "2GB")
    assert code == 2
    assert "error: --load_in_4bit True needs --use_lora True" in err


def test_a_gpu_that_is_too_small_is_told(line_folder: Path, run: Run) -> None:
    code, out, _ = run(*ARGUMENTS, "--dataset_name", line_folder, "--plan", "0.5GB")
    assert code == 0
    assert "Nothing fits" in out
    assert "->" not in out


def test_a_bad_size_is_one_line(line_folder: Path, run: Run) -> None:
    code, _, err = run(*ARGUMENTS, "--dataset_name", line_folder, "--plan", "8potatoes")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: --plan 8potatoes is not the size of a GPU")
