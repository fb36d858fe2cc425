"""Operations counted from the shapes are those that torch counts on the real modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from glm_ocr_finetune.inputs.geometry import PATCHES_PER_TOKEN
from glm_ocr_finetune.model.arithmetic import Arithmetic
from glm_ocr_finetune.model.loading import load_weights


@pytest.fixture(scope="module")
def model() -> Any:
    return load_weights("tiny-random").eval()


def counted(run: Any) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return {str(name): count for name, count in counter.get_flop_counts()["Global"].items()}


def without_attention(counts: dict[str, int]) -> int:
    return sum(count for name, count in counts.items() if "attention" not in name and "bmm" not in name)


def test_text_layers_and_head(model: Any) -> None:
    tokens = 64
    rows = torch.zeros(1, tokens, model.config.text_config.hidden_size)
    positions = torch.arange(tokens)[None, None].expand(3, 1, -1)
    text = counted(lambda: model.model.language_model(inputs_embeds=rows, position_ids=positions, use_cache=False))
    assert without_attention(text) == pytest.approx(Arithmetic.of(model.config).text * tokens, rel=0.01)
    head = counted(lambda: model.lm_head(rows))
    assert sum(head.values()) == Arithmetic.of(model.config).head * tokens


def test_vision_tower(model: Any) -> None:
    grid = torch.tensor([[1, 8, 12]])
    config = model.config.vision_config
    patches = torch.zeros(8 * 12, config.in_channels * config.temporal_patch_size * config.patch_size**2)
    seen = counted(lambda: model.model.visual(patches, grid_thw=grid))
    tokens = 8 * 12 // PATCHES_PER_TOKEN
    assert without_attention(seen) == pytest.approx(Arithmetic.of(model.config).vision * tokens, rel=0.05)
