"""The trained stop token matters: without it the same training gives a model that never stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import IGNORED, PromptRenderer
from glm_ocr_finetune.metrics import score
from glm_ocr_finetune.reading.samples import read_samples


class WithoutStopToken(VLMDataCollator):
    """Masks the stop token in the labels, as trainers do that take it for padding."""

    def __call__(self, samples: Any) -> dict[str, torch.Tensor]:
        batch = super().__call__(samples)
        batch["labels"][batch["labels"] == self.renderer.stop_token_id] = IGNORED
        return batch


def scores_after_learning(folder: Path, output: Path, collator_class: type[VLMDataCollator]) -> dict[str, Any]:
    """Learn twelve words by heart and read them."""
    torch.manual_seed(0)
    model, processor = load_model("tiny-random")
    collator = collator_class(PromptRenderer(processor))
    splits = load_splits(DataArguments(str(folder)), collator.renderer, None, 0, evaluate=False)
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=110,
        learning_rate=3e-3,
        per_device_train_batch_size=12,
        gradient_accumulation_steps=1,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = create_trainer(model, processor, splits.train, arguments, collator=collator)
    trainer.train()
    readings = read_samples(model.eval(), collator.renderer, splits.train, splits.train_tokens.tolist(), 12)
    return score(readings).values


def test_stop_rate_collapses_without_the_stop_token(line_folder: Path, tmp_path: Path) -> None:
    taught = scores_after_learning(line_folder, tmp_path / "a", VLMDataCollator)
    assert taught["stop_rate"] == 1
    assert taught["corpus_cer"] < 0.2
    untaught = scores_after_learning(line_folder, tmp_path / "b", WithoutStopToken)
    assert untaught["stop_rate"] == 0
    assert untaught["corpus_cer"] > 1
