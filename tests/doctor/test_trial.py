"""The trial itself, for real: the tiny model is trained for a step and knows its words."""

from __future__ import annotations

from pathlib import Path

from glm_ocr_finetune.doctor.trial import WORDS, try_everything


def test_the_tiny_model_is_trained_and_reads(tmp_path: Path) -> None:
    answer = try_everything(tmp_path)
    assert answer["read"] == list(WORDS)
    assert answer["training_s"] > answer["reading_s"] > 0
    assert answer["variable_length"] is False  # its kernels are for GPUs
    assert (tmp_path / "run" / "model.safetensors").is_file()
