"""What ``--mtp train`` adds to a training step: processor time of steps with and without it, in turns.

    OMP_NUM_THREADS=1 python -m benchmarks.mtp_step --dataset_name DATA [--use_lora True]

Prints the median of a step with the layer kept and with it trained, of the same batches, and their ratio. Processor
time is taken, not the clock's, so that other work on the machine matters less; image features are cached.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from transformers import TrainerCallback

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache

WARM_UP = 2  # steps that are not counted


class Clock(TrainerCallback):
    """Processor seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.process_time() - self.began)


def seconds_a_step(args: argparse.Namespace, mtp: str, cache: VisionCache) -> list[float]:
    """Of one run over the same samples in the same order."""
    torch.manual_seed(0)
    model, processor = load_model(args.model, use_lora=args.use_lora)
    renderer = PromptRenderer(processor)
    data = DataArguments(args.dataset_name, image_folder=args.image_folder, max_pixels=args.max_pixels)
    rows = load_splits(data, renderer, 2048, 0, evaluate=False).train.select(range(args.steps * args.batch_size // 2))
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            num_train_epochs=2,  # the second finds all features in the cache
            per_device_train_batch_size=args.batch_size,
            gradient_accumulation_steps=1,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            mtp=mtp,
        )
        trainer = create_trainer(
            model, processor, rows, arguments, collator=VLMDataCollator(renderer, 2048, cache=cache)
        )
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
    return clock.seconds[max(WARM_UP, len(clock.seconds) // 2) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dataset_name", required=True)
    parser.add_argument("--image_folder")
    parser.add_argument("--max_pixels", type=int, default=60000)
    parser.add_argument("--use_lora", type=lambda word: word == "True", default=False)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cache = VisionCache("benchmark", MemoryStore(2e9))
    seconds: dict[str, list[float]] = {"keep": [], "train": []}
    for _ in range(args.rounds):
        for mtp, found in seconds.items():
            found += seconds_a_step(args, mtp, cache)
    kept, trained = (statistics.median(found) for found in seconds.values())
    print(f"a step: kept {kept:.3f} s, trained {trained:.3f} s of processor time, ratio {trained / kept:.2f}")


if __name__ == "__main__":
    main()
