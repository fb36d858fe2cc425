"""What is written beside the weights: the prompts of the samples, the most frequent first, and a base that lasts."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from glm_ocr_finetune import TrainingArguments
from glm_ocr_finetune.args import DataArguments, ModelArguments
from glm_ocr_finetune.training.sidecar import MOST_PROMPTS, describe, prompts_by_frequency

TABLE = "Table Recognition:"


def test_prompts_are_ordered_by_how_often_they_are_asked() -> None:
    rows = Dataset.from_dict({"prompt": [None, TABLE, TABLE, "Read:", TABLE, None]})
    assert prompts_by_frequency(rows, "Text:") == [TABLE, "Text:", "Read:"]
    assert prompts_by_frequency(Dataset.from_dict({"text": ["a"]}), "Text:") == ["Text:"]
    assert prompts_by_frequency(Dataset.from_dict({"prompt": []}), "Text:") == ["Text:"]


def test_the_sidecar_names_the_base_from_anywhere(
    tiny_random: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").symlink_to(tiny_random)
    monkeypatch.chdir(tmp_path)
    rows = Dataset.from_dict({"prompt": [f"prompt {i}" for i in range(30)]})
    arguments = TrainingArguments(output_dir="out", report_to="none", max_length=700)
    data_args = DataArguments("data", prompt_format="no_think")
    written = describe(ModelArguments(model_name="base"), data_args, arguments, rows)
    assert Path(written.base_model).is_absolute()
    assert Path(written.base_model).resolve() == tiny_random.resolve()
    assert (written.prompt_format, written.max_length) == ("no_think", 700)
    assert len(written.other_prompts) == MOST_PROMPTS
    tiny = describe(ModelArguments(model_name="tiny"), data_args, arguments, rows)
    assert tiny.base_model == "tiny"
