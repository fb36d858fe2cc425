"""What must hold of training whatever else changes: who moves, what equals what, what comes back."""

from __future__ import annotations

import os
import signal
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.mtp import read_mtp_tensors
from glm_ocr_finetune.model.parts import part_of
from glm_ocr_finetune.train import Interrupted, train

ALL_PARTS = {"vision tower", "multi-modal projector", "language model"}


def samples(folder: Path, processor: Any) -> Any:
    """The twelve lines as training samples."""
    return load_splits(DataArguments(str(folder)), PromptRenderer(processor), 2048, 0, evaluate=False).train


def arguments(output: Path, **changes: Any) -> TrainingArguments:
    defaults: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": 2,
        "eval_strategy": "no",
        "report_to": "none",
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "warmup_ratio": 0.0,
        "disable_tqdm": True,
    }
    return TrainingArguments(**defaults | changes)


def trained(folder: Path, output: Path, model_options: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A trainer after its run on the tiny model."""
    torch.manual_seed(0)
    model, processor = load_model("tiny-random", **(model_options or {}))
    trainer = create_trainer(model, processor, samples(folder, processor), arguments(output, **changes))
    trainer.train()
    return trainer


def losses(trainer: Any) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    (file,) = directory.glob("*model.safetensors")
    return load_file(file)


def test_loss_on_one_batch_halves(line_folder: Path, tmp_path: Path) -> None:
    found = losses(trained(line_folder, tmp_path, max_steps=14, learning_rate=3e-3))
    assert found[-1] < found[0] / 2


@pytest.mark.parametrize(("tower", "projector", "lora"), list(product([True, False], [True, False], [False, True])))
def test_everything_trained_moves_and_nothing_frozen_does(
    line_folder: Path, tmp_path: Path, tower: bool, projector: bool, lora: bool
) -> None:
    options = {"freeze_vision_tower": tower, "freeze_multi_modal_projector": projector, "use_lora": lora}
    torch.manual_seed(0)
    model, processor = load_model("tiny-random", **options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rows = samples(line_folder, processor)
    create_trainer(model, processor, rows, arguments(tmp_path, max_steps=3)).train()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    frozen = {"vision tower"} if tower else set()
    frozen |= {"multi-modal projector"} if projector else set()
    assert {part_of(name) for name in moved} == ALL_PARTS - frozen
    assert all(".lora_" in name for name in moved) == lora


def test_four_bit_lora_moves_its_adapters_only(line_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    trainer = trained(line_folder, tmp_path, {"use_lora": True, "load_in_4bit": True}, max_steps=3)
    adapters = [p for name, p in trainer.model.named_parameters() if ".lora_B." in name]
    assert all(p.dtype == torch.float32 and bool(p.any()) for p in adapters)


def test_four_bit_lora_trains_every_layer_after_it_has_read(line_folder: Path, processor: Any) -> None:
    pytest.importorskip("bitsandbytes")
    from glm_ocr_finetune.data.collate import VLMDataCollator

    model, _ = load_model("tiny-random", use_lora=True, load_in_4bit=True)
    batch = VLMDataCollator(PromptRenderer(processor))([samples(line_folder, processor)[0]])
    with torch.no_grad():
        model.eval()(**batch)
    model.train()(**batch).loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if ".lora_B." in name}
    assert len(gradients) > 20
    assert all(bool(gradient.any()) for gradient in gradients.values())


def test_accumulated_batches_equal_one_large_batch(line_folder: Path, tmp_path: Path) -> None:
    four = trained(
        line_folder, tmp_path / "a", per_device_train_batch_size=4, gradient_accumulation_steps=2, max_steps=3
    )
    eight = trained(
        line_folder, tmp_path / "b", per_device_train_batch_size=8, gradient_accumulation_steps=1, max_steps=3
    )
    assert losses(four) == pytest.approx(losses(eight), rel=1e-4)
    for (name, a), (_, b) in zip(four.model.named_parameters(), eight.model.named_parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-4, msg=name)


def test_checkpointing_changes_nothing_but_memory(line_folder: Path, tmp_path: Path) -> None:
    plain = trained(line_folder, tmp_path / "a")
    recomputed = trained(line_folder, tmp_path / "b", gradient_checkpointing=True)
    assert losses(plain) == pytest.approx(losses(recomputed), rel=1e-5)


class StopAt(TrainerCallback):
    """Stops a run at a step: by a signal, or as abruptly as a kill."""

    def __init__(self, step: int, signal_number: int | None) -> None:
        self.step, self.signal_number = step, signal_number

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            if self.signal_number is None:
                raise RuntimeError("killed")
            os.kill(os.getpid(), self.signal_number)


def run_train(
    folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch, stop: StopAt | None = None, **changes: Any
) -> Path:
    """The whole workflow on the tiny model, with LoRA dropout so that random states matter."""
    import glm_ocr_finetune.training.trainer_parts as module

    if stop:
        monkeypatch.setattr(module, "DrawLoss", lambda: stop)
    else:
        monkeypatch.undo()
    use_lora = changes.pop("use_lora", False)
    train(
        ModelArguments(model_name="tiny-random", use_lora=use_lora, lora_dropout=0.05),
        DataArguments(dataset_name=str(folder), eval_split_size=0.0),
        arguments(output, **{"max_steps": 5, "per_device_train_batch_size": 2} | changes),
    )
    return output


@pytest.mark.parametrize("use_lora", [False, True])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_resumed_run_equals_the_uninterrupted_one(
    line_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_lora: bool, signal_number: int
) -> None:
    whole = run_train(line_folder, tmp_path / "whole", monkeypatch, use_lora=use_lora)
    with pytest.raises(Interrupted, match="checkpoint-3") as stopped:
        run_train(line_folder, tmp_path / "cut", monkeypatch, StopAt(3, signal_number), use_lora=use_lora)
    assert stopped.value.signal_number == signal_number
    resumed = run_train(line_folder, tmp_path / "cut", monkeypatch, use_lora=use_lora, resume_from_checkpoint="True")
    expected, found = weights_of(whole), weights_of(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_resuming_after_a_kill_equals_the_uninterrupted_run(
    line_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_train(line_folder, tmp_path / "whole", monkeypatch, save_steps=2)
    with pytest.raises(RuntimeError, match="killed"):
        run_train(line_folder, tmp_path / "cut", monkeypatch, StopAt(3, None), save_steps=2)
    checkpoint = str(tmp_path / "cut" / "checkpoint-2")
    resumed = run_train(line_folder, tmp_path / "cut", monkeypatch, save_steps=2, resume_from_checkpoint=checkpoint)
    expected, found = weights_of(whole), weights_of(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_all_sixteen_mtp_tensors_are_carried_bit_for_bit(
    line_folder: Path, tiny_random: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig

    output = run_train(line_folder, tmp_path, monkeypatch, save_steps=5)
    config = AutoConfig.from_pretrained(tiny_random)
    base = read_mtp_tensors(str(tiny_random), config)
    assert len(base) == 16
    for directory in (output, output / "checkpoint-5"):
        saved = read_mtp_tensors(str(directory), config)
        assert saved.keys() == base.keys()
        assert all(torch.equal(saved[name], base[name]) and saved[name].dtype == base[name].dtype for name in base)
        assert AutoConfig.from_pretrained(directory).text_config.num_nextn_predict_layers == 1
