"""How much of what a run has learned survives being stored in bf16, to the nearest and by stochastic rounding.

    python -m benchmarks.rounding --rate 1e-5 --steps 20 100 --output rounding.json

The tiny model is tuned on the demo's lines in fp32. At each of the steps its weights are stored in fp32, in bf16 to
the nearest, and in bf16 by stochastic rounding with several seeds; each is loaded anew and judged on the held-out lines.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.splits import Splits, load_splits
from glm_ocr_finetune.demo import DATA
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.metrics import score
from glm_ocr_finetune.model.checkpoint import stored_as
from glm_ocr_finetune.model.loading import load_model
from glm_ocr_finetune.reading.samples import read_samples
from glm_ocr_finetune.training.trainer import create_trainer
from glm_ocr_finetune.training_args import TrainingArguments

SEEDS = range(3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1e-5)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    model, processor = load_model("tiny")
    renderer = PromptRenderer(processor)
    data_args = DataArguments(dataset_name=str(DATA), eval_split="test")
    splits = load_splits(data_args, renderer, 2048, seed=0)
    base = {name: value.clone() for name, value in model.state_dict().items()}
    judge = Judge(model, renderer, splits, args.samples)
    rows = [judge.row(0, "base", base)]
    for step, weights in trained(model, processor, splits, args.rate, args.steps).items():
        rows.append(judge.row(step, "fp32", weights))
        nearest = {name: value.to(torch.bfloat16).float() for name, value in weights.items()}
        rows.append(judge.row(step, "nearest", nearest))
        for seed in SEEDS:
            stored = {name: value.float() for name, value in stored_as(weights, torch.bfloat16, seed).items()}
            rows.append(judge.row(step, f"stochastic {seed}", stored))
    add_surviving(rows)
    args.output.write_text(json.dumps({"rate": args.rate, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        print(row)


def trained(model: Any, processor: Any, splits: Splits, rate: float, steps: list[int]) -> dict[int, dict[str, Any]]:
    """The fp32 weights after each of the steps of one run, with a constant rate."""
    with tempfile.TemporaryDirectory() as folder:
        training_args = TrainingArguments(
            output_dir=folder,
            max_steps=max(steps),
            learning_rate=rate,
            lr_scheduler_type="constant",
            warmup_ratio=0.0,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = create_trainer(model, processor, splits.train, training_args)
        kept = Keep(steps)
        trainer.add_callback(kept)
        trainer.train()
    return kept.weights


def Keep(steps: list[int]) -> Any:  # noqa: N802 - it makes an object of a class that needs transformers
    """A callback whose ``weights`` are copies of the weights after the steps."""
    from transformers import TrainerCallback

    class Keeping(TrainerCallback):
        def __init__(self) -> None:
            self.weights: dict[int, dict[str, Any]] = {}

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step in steps:
                values = kwargs["model"].state_dict()
                self.weights[state.global_step] = {name: value.clone() for name, value in values.items()}

    return Keeping()


class Judge:
    """Loss and character error rate of weights on held-out lines."""

    def __init__(self, model: Any, renderer: PromptRenderer, splits: Splits, samples: int) -> None:
        self.model, self.renderer = model, renderer
        assert splits.evaluation is not None
        self.samples = splits.evaluation.select(range(samples))
        self.lengths = splits.evaluation_tokens[:samples].tolist()
        collator = VLMDataCollator(renderer)
        self.batches = [
            collator([self.samples[i] for i in range(start, min(start + 20, samples))])
            for start in range(0, samples, 20)
        ]

    def row(self, step: int, stored: str, weights: dict[str, Any]) -> dict[str, Any]:
        """The figures of one set of weights."""
        self.model.load_state_dict(weights)
        self.model.eval()
        readings = read_samples(self.model, self.renderer, self.samples, self.lengths, 25, progress=False)
        cer = score(readings).values["corpus_cer"]
        return {"step": step, "stored": stored, "loss": self.loss(), "cer": cer}

    def loss(self) -> float:
        """Mean over the label tokens of all held-out lines."""
        total = count = 0.0
        with torch.no_grad():
            for batch in self.batches:
                labels = int((batch["labels"] != -100).sum())
                total += float(self.model(**batch).loss) * labels
                count += labels
        return total / count


def add_surviving(rows: list[dict[str, Any]]) -> None:
    """The share of the fall in loss, and in errors, that is left of what fp32 holds at the same step."""
    base = rows[0]
    whole = {row["step"]: row for row in rows if row["stored"] == "fp32"}
    for row in rows[1:]:
        for name in ("loss", "cer"):
            gained = base[name] - whole[row["step"]][name]
            row[f"{name}_surviving"] = (base[name] - row[name]) / gained if gained else None


if __name__ == "__main__":
    main()
