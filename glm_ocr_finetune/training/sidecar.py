"""What a run writes beside the weights about how they were tuned."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..model.checkpoint import Sidecar
from ..model.loading import lasting_name

if TYPE_CHECKING:
    from datasets import Dataset

    from ..args import DataArguments, ModelArguments
    from ..training_args import TrainingArguments

MOST_PROMPTS = 10  # beside the most frequent one; data with a prompt for every row would fill the file


def describe(
    model_args: ModelArguments, data_args: DataArguments, training_args: TrainingArguments, train: Dataset
) -> Sidecar:
    """The sidecar of a run: its base by a name that lasts, and the prompts of its training samples."""
    first, *others = prompts_by_frequency(train, data_args.default_prompt)
    return Sidecar(
        base_model=lasting_name(model_args.model_name),
        prompt=first,
        prompt_format=str(data_args.prompt_format),
        max_length=training_args.max_length,
        other_prompts=others[:MOST_PROMPTS],
    )


def prompts_by_frequency(train: Dataset, default_prompt: str) -> list[str]:
    """The prompts of the rows, their own or the default, the most frequent first."""
    if "prompt" not in train.column_names:
        return [default_prompt]
    counts: Counter[str] = Counter()
    for table in train.with_format("arrow").select_columns(["prompt"]).iter(batch_size=10_000):
        for value in table.column("prompt").value_counts().to_pylist():
            counts[value["values"] or default_prompt] += value["counts"]
    return [prompt for prompt, _ in counts.most_common()] or [default_prompt]
