"""What is exported is found: adapters with their base, runs with their evaluation, and what cannot be exported is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.exporting.source import Source, find_source
from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.model.tiny import tiny_path


def test_an_adapter_names_its_base_and_keeps_its_processor(source: Source, adapter: Path) -> None:
    assert (source.base, source.adapter) == (str(tiny_path("tiny-random")), str(adapter))
    assert source.tuned == str(adapter)
    assert PixelBudget.of(source.load_processor()).max_pixels == 6_272
    assert len(source.mtp_tensors()) == 16


def test_merged_computes_what_the_adapter_does(source: Source) -> None:
    """Logits in fp32; the adapter is large, so that this does not hold without it."""
    ids = torch.arange(1, 41)[None]
    merged, adapted, base = (
        source.load_model(),
        source.load_model(merged=False),
        find_source("tiny-random", None).load_model(),
    )
    with torch.no_grad():
        one, other, without = (model(input_ids=ids).logits for model in (merged, adapted, base))
    assert merged.dtype == torch.float32
    assert (one - other).abs().max() < 1e-4
    assert (one - without).abs().max() > 0.1


def test_a_checkpoint_belongs_to_the_run_above_it(tmp_path: Path, adapter: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"arguments": {"load_in_4bit": True}}))
    (tmp_path / "checkpoint-5").mkdir()
    for file in adapter.iterdir():
        (tmp_path / "checkpoint-5" / file.name).write_bytes(file.read_bytes())
    found = find_source(str(tmp_path / "checkpoint-5"), None)
    assert found.run == tmp_path
    assert found.four_bit


def test_a_run_that_has_not_finished_names_its_last_checkpoint(tmp_path: Path) -> None:
    for step in (5, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
    with pytest.raises(UserError, match=r"has not finished; export one of its checkpoints: --model .*checkpoint-20"):
        find_source(str(tmp_path), None)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model: config.json is missing"):
        find_source(str(tmp_path), None)
