"""``--mtp train`` trains the multi-token-prediction layer, and changes nothing else."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.draft_layer import load_draft_layer
from glm_ocr_finetune.model.loading import load_for_reading, load_weights
from glm_ocr_finetune.model.mtp import MTP_FILE, mtp_prefix, read_mtp_tensors
from glm_ocr_finetune.reading.speculative import speculation_for
from glm_ocr_finetune.training.drafting import check_drafts


def trainer(folder: Path, output: Path, use_lora: bool = False, model_name: str = "tiny-random", **changes: Any) -> Any:
    """Of twelve lines, at a rate and a norm of gradients at which every step is clipped."""
    torch.manual_seed(0)
    model, processor = load_model(model_name, use_lora=use_lora)
    rows = load_splits(DataArguments(str(folder)), PromptRenderer(processor), 2048, 0, evaluate=False).train
    defaults: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "max_grad_norm": 0.1,
        "eval_strategy": "no",
        "save_steps": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return create_trainer(model, processor, rows, TrainingArguments(**defaults | changes))


def losses(of: Any) -> list[dict[str, float]]:
    return [{key: row[key] for key in ("loss", "grad_norm")} for row in of.state.log_history if "loss" in row]


def weights(of: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in of.model.named_parameters()}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"use_lora": True},
        {"padding_free": False, "gradient_accumulation_steps": 2},
        {"use_lora": True, "padding_free": False, "gradient_accumulation_steps": 2},
        {"gradient_accumulation_steps": 2, "gradient_checkpointing": True},
    ],
    ids=str,
)
def test_the_trunk_is_that_of_keep_bit_for_bit(
    line_folder: Path, tiny_random: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    runs = {}
    for choice in ("keep", "train"):
        runs[choice] = trainer(line_folder, tmp_path / choice, mtp=choice, save_strategy="no", max_steps=2, **how)
        runs[choice].train()
        runs[choice].after = torch.rand(3)  # the state of the random numbers
    kept, trained = runs["keep"], runs["train"]
    assert losses(trained) == losses(kept)
    assert min(row["grad_norm"] for row in losses(kept)) > 0.1, "every step must be clipped"
    expected, found = weights(kept), weights(trained)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert torch.equal(trained.after, kept.after)
    base = load_draft_layer(str(tiny_random), kept.model.config)
    assert base is not None
    moved = trained.drafts.layer.state_dict()
    assert all(not torch.equal(moved[name], value) for name, value in base.state_dict().items())


@pytest.mark.parametrize("use_lora", [False, True])
def test_how_a_step_is_cut_and_laid_out_does_not_change_the_layer(
    line_folder: Path, tmp_path: Path, use_lora: bool
) -> None:
    def layer(name: str, **how: Any) -> dict[str, torch.Tensor]:
        run = trainer(
            line_folder,
            tmp_path / name,
            use_lora,
            mtp="train",
            save_strategy="no",
            max_grad_norm=0.0,
            max_steps=2,
            **how,
        )
        run.train()
        found: dict[str, torch.Tensor] = run.drafts.layer.state_dict()
        return found

    whole = layer("whole", per_device_train_batch_size=4)
    for name, how in {
        "cut": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4},
        "padded": {"per_device_train_batch_size": 4, "padding_free": False},
    }.items():
        for key, value in layer(name, **how).items():
            torch.testing.assert_close(value, whole[key], rtol=1e-3, atol=2e-4, msg=f"{name} {key}")


@pytest.mark.parametrize("use_lora", [False, True])
def test_a_resumed_run_ends_with_the_same_layer(line_folder: Path, tmp_path: Path, use_lora: bool) -> None:
    whole = trainer(line_folder, tmp_path / "whole", use_lora, mtp="train")
    whole.train()
    resumed = trainer(line_folder, tmp_path / "resumed", use_lora, mtp="train")
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert losses(resumed)[2:] == losses(whole)[2:]
    found, expected = (run.drafts.layer.state_dict() for run in (resumed, whole))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("use_lora", [False, True])
def test_the_layer_is_among_what_is_saved(line_folder: Path, tmp_path: Path, use_lora: bool) -> None:
    """In fp32 on the way and in bf16 at the end; the copies of embedding and head are those of the saved trunk."""
    run = trainer(line_folder, tmp_path, use_lora, mtp="train", save_steps=4)
    run.train()
    run.save_model(str(tmp_path))
    config = run.accelerator.unwrap_model(run.model).config
    prefix = mtp_prefix(config)
    layer = run.drafts.layer
    on_the_way, at_the_end = (read_mtp_tensors(str(path), config) for path in (tmp_path / "checkpoint-4", tmp_path))
    assert len(on_the_way) == len(at_the_end) == 16
    assert torch.equal(on_the_way[f"{prefix}eh_proj.weight"], layer.eh_proj.weight)
    assert {value.dtype for value in at_the_end.values()} == {torch.bfloat16}
    torch.testing.assert_close(
        at_the_end[f"{prefix}eh_proj.weight"].float(), layer.eh_proj.weight.detach(), rtol=1e-2, atol=1e-6
    )
    assert (tmp_path / MTP_FILE).is_file() == use_lora
    if not use_lora:
        saved = load_file(tmp_path / "model.safetensors")
        assert torch.equal(saved[f"{prefix}shared_head.head.weight"], saved["lm_head.weight"])
        assert torch.equal(saved[f"{prefix}embed_tokens.weight"], saved["model.language_model.embed_tokens.weight"])
    read = load_for_reading(str(tmp_path), device_map="cpu")[0]
    drafting = speculation_for(read, str(tmp_path)).layer
    assert torch.equal(drafting.eh_proj.weight, at_the_end[f"{prefix}eh_proj.weight"].float())


def test_sharded_training_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="--mtp train works without FSDP and DeepSpeed only"):
        TrainingArguments(output_dir=str(tmp_path), mtp="train", fsdp="full_shard")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")  # as accelerate launch says it
    with pytest.raises(UserError, match="--mtp train works without FSDP and DeepSpeed only"):
        TrainingArguments(output_dir=str(tmp_path), mtp="train")


def test_how_well_it_drafts_is_logged_apart(line_folder: Path, tmp_path: Path) -> None:
    run = trainer(line_folder, tmp_path, mtp="train", save_strategy="no", max_steps=12, logging_steps=12)
    run.train()
    row = next(row for row in run.state.log_history if "loss" in row)
    assert {name for name in row if "mtp" in name} == {"mtp_loss", *(f"mtp_acceptance_{i}" for i in (1, 2, 3))}
    assert 1 >= row["mtp_acceptance_1"] >= row["mtp_acceptance_2"] >= row["mtp_acceptance_3"] >= 0


def test_a_gradient_that_is_not_finite_stops_only_the_layer(
    line_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = {
        choice: trainer(line_folder, tmp_path, mtp=choice, save_strategy="no", max_steps=2)
        for choice in ("keep", "train")
    }
    with torch.no_grad():
        runs["train"].drafts.layer.norm.weight[0] = torch.inf
    with caplog.at_level(logging.WARNING, logger="glm_ocr_finetune"):
        for run in runs.values():
            run.train()
    assert losses(runs["train"]) == losses(runs["keep"])
    assert all(value.isfinite().all() for value in weights(runs["train"]).values())
    assert "multi-token-prediction layer is not finite" in caplog.text


def test_a_base_without_the_layer_is_refused(line_folder: Path, tiny_random: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(tiny_random, tmp_path / "bare"))
    prefix = mtp_prefix(load_weights("tiny-random").config)
    held = load_file(tiny_random / "model.safetensors")
    without = {name: value for name, value in held.items() if not name.startswith(prefix)}
    save_file(without, bare / "model.safetensors", {"format": "pt"})
    message = f"--mtp train: {bare} has no multi-token-prediction layer to train; leave the flag out"
    with pytest.raises(UserError, match=message):
        trainer(line_folder, tmp_path / "out", model_name=str(bare), mtp="train", max_steps=1)
    with pytest.raises(UserError, match=message):
        check_drafts(str(bare))
    check_drafts("tiny-random")
