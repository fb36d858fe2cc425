"""What a run says of its samples' prompts and of its base."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.training.sidecar import MOST_PROMPTS, describe, prompts_by_frequency
from glm_ocr_finetune.training_args import TrainingArguments


def table(*prompts: str | None) -> Dataset:
    return Dataset.from_dict({"prompt": list(prompts)})


def test_prompts_of_rows_count_and_the_default_stands_in() -> None:
    assert prompts_by_frequency(table("a", None, "b", "b", "", None), "d") == ["d", "b", "a"]
    assert prompts_by_frequency(table(), "d") == ["d"]
    assert prompts_by_frequency(Dataset.from_dict({"text": ["x"]}), "d") == ["d"]


def test_what_a_transform_fills_in_is_not_taken_for_the_rows_own() -> None:
    rows = table("a", None, None).with_transform(lambda batch: {"prompt": ["filled"] * len(batch["prompt"])})
    assert prompts_by_frequency(rows, "d") == ["d", "a"]


def test_the_sidecar_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    monkeypatch.chdir(tmp_path)
    training_args = TrainingArguments(output_dir="o", report_to="none", max_length=999)
    data_args = DataArguments(prompt="Lies:", prompt_format="no_think")
    many = [f"prompt {i}" for i in range(50)]
    found = describe(ModelArguments("./base"), data_args, training_args, table(None, None, *many))
    assert (found.base_model, found.prompt, found.prompt_format) == (str(tmp_path / "base"), "Lies:", "no_think")
    assert found.max_length == 999
    assert found.other_prompts == many[:MOST_PROMPTS]
