"""An adapter with random weights on tiny-random, and a whole model written from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune.exporting.files import rounded_weights, write_beside, write_full
from glm_ocr_finetune.exporting.inspection import Expected, expectation
from glm_ocr_finetune.exporting.source import Source, find_source
from glm_ocr_finetune.inputs.processor import save_processor
from glm_ocr_finetune.model.checkpoint import Sidecar
from glm_ocr_finetune.model.loading import load_model


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA of rank 4 whose second half is random too, tuned (it says) with a pixel budget of its own."""
    folder = tmp_path_factory.mktemp("adapter")
    model, processor = load_model("tiny-random", use_lora=True, lora_rank=4, max_pixels=6_272)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    model.save_pretrained(folder)
    save_processor(processor, folder)
    Sidecar("tiny-random", "Text Recognition:", "serve", 2048).write(folder)
    return folder


@pytest.fixture(scope="session")
def source(adapter: Path) -> Source:
    return find_source(str(adapter), None)


@pytest.fixture(scope="session")
def written(source: Source, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    """The merged model in two shards or more, and what its files must hold."""
    folder = tmp_path_factory.mktemp("written") / "export"
    return folder, write_merged(source, folder)


def write_merged(source: Source, folder: Path) -> Expected:
    model, processor = source.load_model(), source.load_processor()
    weights, drafts = rounded_weights(model), source.mtp_tensors()
    write_full(model, processor, weights, drafts, folder, "6MB")
    write_beside(folder, source.base, source.sidecar)
    everything: dict[str, Any] = weights | {name: value.bfloat16() for name, value in drafts.items()}
    return expectation(everything, source.base, model, processor, "Text Recognition:", "serve")
