"""How much of a batch is padding, for every way to make batches, on data sets that are named.

    python -m benchmarks.padding --model tiny --dataset_name LINES RECEIPTS

Lengths are those of the sequences that would be trained (image, prompt, answer, stop token). A padded batch is as wide
as its longest sequence; without padding the samples of a batch lie in one row, and nothing is padded by construction.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.batching import BatchPlan
from glm_ocr_finetune.data.splits import default_split, load_splits
from glm_ocr_finetune.inputs.processor import load_processor
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import resolve_model_path


def padded_share(lengths: np.ndarray, batches: list[list[int]]) -> float:
    """Padded positions over all positions, when each batch is padded to its longest sequence."""
    return 1 - lengths.sum() / sum(len(batch) * lengths[batch].max() for batch in batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_name", nargs="+", required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--tokens_per_batch", type=int, default=4096)
    parser.add_argument("--max_length", type=int, default=2048)
    args = parser.parse_args()
    renderer = PromptRenderer(load_processor(resolve_model_path(args.model)))
    ways = {
        "at random": (None, False),
        "by length": (None, True),
        f"by {args.tokens_per_batch} tokens": (args.tokens_per_batch, False),
    }
    print("data set", "samples", "shortest", "longest", *ways, "without padding", sep="\t")
    for name in args.dataset_name:
        data_args = DataArguments(dataset_name=name, train_split=default_split(name))
        lengths = load_splits(data_args, renderer, args.max_length, seed=0, evaluate=False).train_tokens
        shares = []
        for tokens, by_length in ways.values():
            plan = BatchPlan(lengths, args.batch_size, tokens, by_length, seed=0, epoch=lambda: 0)
            shares.append(f"{padded_share(lengths, list(plan)):.1%}")
        print(Path(name).name, len(lengths), lengths.min(), lengths.max(), *shares, "0.0%", sep="\t")


if __name__ == "__main__":
    main()
