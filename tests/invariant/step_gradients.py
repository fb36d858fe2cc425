"""The gradients of the optimizer steps of one epoch, however a step is cut; also a script, to be run under torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from drawing import draw_line
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.samples import format_for_vlm
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache

PER_STEP = 4
TEXTS = ("a", "b" * 40, "cd", "e f g h " * 9, "ij", "lm " * 30, "k", "no", "q", "p" * 25)  # the last step has two


class KeepGradients(TrainerCallback):
    """The gradient of every trained parameter, before each optimizer step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.steps.append(gradients(model))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Of each parameter that has one, put together of what ranks share out."""
    found = {n.removeprefix("module."): p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {n: grad.full_tensor() if isinstance(grad, DTensor) else grad.clone() for n, grad in found.items()}


def base(use_lora: bool) -> tuple[Any, Any]:
    """The model of random weights; its adapters do not give 0, so that all of them have a gradient."""
    torch.manual_seed(0)
    model, processor = load_model("tiny-random", use_lora=use_lora, lora_dropout=0.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.02)
    return model, processor


def samples() -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"image": draw_line("abc"), "text": text} for text in TEXTS]).map(format_for_vlm)


def of_the_trainer(output: Path, size: int, accumulation: int, **how: Any) -> tuple[Any, KeepGradients]:
    """A trainer after one epoch at a learning rate that moves nothing, and the gradients of its three steps."""
    use_lora, cached = how.pop("use_lora", False), how.pop("cached", False)
    model, processor = base(use_lora)
    cache = VisionCache("name", MemoryStore(1e8)) if cached else None
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=1,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        learning_rate=1e-15,
        weight_decay=0.0,
        max_grad_norm=1e9,
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **how,
    )
    keep = KeepGradients()
    trainer = create_trainer(
        model, processor, samples(), arguments, collator=VLMDataCollator(PromptRenderer(processor), cache=cache)
    )
    trainer.add_callback(keep)
    trainer.train()
    return trainer, keep


def losses(trainer: Any) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


if __name__ == "__main__":
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    trainer, keep = of_the_trainer(folder, **settings)
    if trainer.args.process_index == 0:
        torch.save({"steps": keep.steps, "losses": losses(trainer)}, folder / "gradients.pt")
