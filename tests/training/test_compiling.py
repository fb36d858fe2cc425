"""Decoder layers that are compiled train as they do uncompiled, and what reads calls them as they are."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

import glm_ocr_finetune.training.trainer as trainer_module
from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.training import attention, compiling
from glm_ocr_finetune.training.compiling import CompiledLayers

STEPS = 8
BATCHES = {"tokens_per_batch": 330}  # so that they differ in length and in number of samples


def attend(query: Any, key: Any, value: Any, ends: Any, _: Any, longest: int, __: int, scale: float, **___: Any) -> Any:
    """What the kernel of variable length computes, with a mask over the whole row; for a CPU."""
    sample = torch.bucketize(torch.arange(query.shape[0]), ends[1:].long(), right=True)
    allowed = (sample[:, None] == sample[None]).tril()
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    heads_first = (tensor.transpose(0, 1) for tensor in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(*heads_first, allowed, scale=scale).transpose(0, 1)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel of variable length that a CPU has, in fp32; nothing is compiled yet."""
    found = functools.partial(attend, enable_gqa=True)  # the real one is a partial, too
    monkeypatch.setattr(attention, "variable_length_attention", lambda device: found)
    monkeypatch.setattr(attention, "HALF", (torch.float32,))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


class ReadOnTheWay(TrainerCallback):
    """Generates between two steps, with keys and values."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.inputs, self.read = inputs, torch.empty(0)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if state.global_step == STEPS // 2:
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
            self.read = model.generate(**self.inputs, max_new_tokens=4, do_sample=False)
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def run(
    line_folder: Path, output: Path, layers: Any, checkpointing: bool = False, **method: bool
) -> tuple[Any, torch.Tensor]:
    torch.manual_seed(0)
    model, processor = load_model("tiny-random", **method)
    splits = load_splits(DataArguments(str(line_folder)), PromptRenderer(processor), 2048, 0, evaluate=False)
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=STEPS,
        eval_strategy="steps",
        eval_steps=4,
        logging_steps=1,
        gradient_accumulation_steps=1,
        learning_rate=1e-3,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        load_best_model_at_end=False,
        gradient_checkpointing=checkpointing,
        **BATCHES,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, "compiled_layers", layers)
        trainer = create_trainer(
            model, processor, splits.train, arguments, splits.train.select([0, 1]), lengths=splits.train_tokens
        )
    batch = trainer.data_collator([splits.train[0]])
    inputs = ("input_ids", "attention_mask", "mm_token_type_ids", "pixel_values", "image_grid_thw")
    reader = ReadOnTheWay({name: batch[name] for name in inputs})
    trainer.add_callback(reader)
    trainer.train()
    return trainer, reader.read


def figures(trainer: Any, name: str) -> list[float]:
    return [row[name] for row in trainer.state.log_history if name in row]


def compare(line_folder: Path, tmp_path: Path, backend: str, tolerance: float, **changes: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "variable_length_attention", lambda device: None)  # each sample on its own
        plain, tokens = run(line_folder, tmp_path / "plain", layers=lambda *_: None, **changes)
    compiled, others = run(
        line_folder, tmp_path / "compiled", layers=lambda model, _: CompiledLayers(model, backend), **changes
    )
    assert torch.equal(tokens, others)
    for name in ("loss", "grad_norm", "eval_loss"):
        assert len(figures(plain, name)) == len(figures(compiled, name)) > 0
        assert figures(compiled, name) == pytest.approx(figures(plain, name), rel=tolerance), name
    return compiled


def compare_graphs(line_folder: Path, tmp_path: Path, **changes: Any) -> None:
    """The graphs that autograd is given; without the kernels that would be generated from them."""
    trainer = compare(line_folder, tmp_path, "aot_eager", 1e-5, **changes)
    counted = torch._dynamo.utils.counters
    assert len({len(batch) for batch in trainer.batch_plan()}) > 1
    assert 0 < counted["stats"]["unique_graphs"] <= 4  # a first layer without a gradient before it; evaluation
    assert not counted["graph_break"]
    assert all(layer._compiled_call_impl is None for layer in trainer.layers.layers)


def test_it_trains_as_uncompiled_and_compiles_once_for_all_batches(
    line_folder: Path, tmp_path: Path, kernel: None
) -> None:
    compare_graphs(line_folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"use_lora": True}, {"use_lora": True, "checkpointing": True}, {"use_lora": True, "load_in_4bit": True}],
    ids=["LoRA", "checkpointing", "4-bit"],
)
def test_adapters_and_recomputed_activations_too(
    line_folder: Path, tmp_path: Path, kernel: None, changes: dict[str, bool]
) -> None:
    compare_graphs(line_folder, tmp_path, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("use_lora", [False, True], ids=["full", "LoRA"])
def test_compiled_code_trains_as_uncompiled(line_folder: Path, tmp_path: Path, kernel: None, use_lora: bool) -> None:
    compare(line_folder, tmp_path, "inductor", 1e-4, use_lora=use_lora)


def test_on_a_cpu_it_is_said_and_nothing_is_compiled(build_trainer: Any, caplog: pytest.LogCaptureFixture) -> None:
    trainer = build_trainer(torch_compile=True)
    assert "--torch_compile has no effect here: it needs a GPU" in caplog.text
    assert trainer.layers is None
    assert "ACCELERATE_DYNAMO_BACKEND" not in os.environ  # accelerate would compile the whole model


@pytest.mark.parametrize(("fsdp", "lacks"), [(True, "not shared out (FSDP)"), (False, "torch 2.11 and an NVIDIA GPU")])
def test_a_gpu_that_does_not_serve_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fsdp: bool, lacks: str
) -> None:
    args = TrainingArguments(output_dir="out", torch_compile=True)
    args.bf16, args.fsdp = True, fsdp
    monkeypatch.setattr(TrainingArguments, "device", torch.device("cuda"))
    monkeypatch.setattr(compiling, "variable_length_attention", lambda device: None)
    assert compiling.compiled_layers(None, args) is None
    assert lacks in caplog.text
