"""Every parameter belongs to one part; parts are frozen one by one; and the table counts what is there."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from glm_ocr_finetune.model.adapters import add_lora
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.model.parts import PARTS, count_parts, freeze, keep_trained_in_fp32, linear_layers, part_of


@pytest.fixture
def model() -> Any:
    return load_weights("tiny-random")


@pytest.mark.parametrize("frozen", [list(c) for n in range(4) for c in itertools.combinations(PARTS, n)], ids=str)
def test_each_part_is_frozen_on_its_own(model: Any, frozen: list[str]) -> None:
    freeze(model, frozen)
    trained = {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    still = {part_of(name) for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert (trained, still) == (set(PARTS) - set(frozen), set(frozen))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.visual.patch_embed.proj.weight", "vision tower"),
        ("model.visual.downsample.weight", "multi-modal projector"),
        ("lm_head.weight", "language model"),
        ("base_model.model.model.language_model.layers.0.mlp.down_proj.lora_A.default.weight", "language model"),
    ],
)
def test_parts_by_name(name: str, part: str) -> None:
    assert part_of(name) == part


def test_a_stranger_is_an_error() -> None:
    with pytest.raises(ValueError, match="vision_tower.weight belongs to no part"):
        part_of("vision_tower.weight")
    with pytest.raises(ValueError, match="no parameter of this model belongs to: multi-modal projector, vision tower"):
        freeze(nn.ModuleDict({"lm_head": nn.Linear(2, 2)}), [])


def test_the_table_adds_up_with_adapters_too(model: Any) -> None:
    whole = sum(parameter.numel() for parameter in model.parameters())
    freeze(model, ["vision tower", "multi-modal projector"])
    plain = count_parts(model)
    assert sum(part.parameters for part in plain) == whole
    assert [part.trainable > 0 for part in plain] == [False, False, True]
    adapted = add_lora(model, 4, 8, 0.0, "all")
    counted = count_parts(adapted)
    assert [part.parameters for part in counted] == [part.parameters for part in plain]
    assert [part.rank for part in counted] == [None, None, 4]
    assert sum(part.trainable for part in counted) == adapted.get_nb_trainable_parameters()[0]


def test_what_deepspeed_keeps_elsewhere_is_counted_whole(model: Any) -> None:
    freeze(model, [])
    adapted = add_lora(model, 4, 8, 0.0, "all")
    expected = count_parts(adapted)
    for parameter in adapted.parameters():  # as ZeRO-3 leaves them
        parameter.ds_shape, parameter.data = parameter.shape, torch.empty(0)
    assert count_parts(adapted) == expected


def test_adapters_can_go_on_every_linear_layer_but_the_head(model: Any) -> None:
    found = [name for names in linear_layers(model).values() for name in names]
    real = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert sorted([*found, "lm_head"]) == sorted(real)


def test_trained_weights_become_fp32_and_frozen_ones_stay(model: Any) -> None:
    model.to(torch.bfloat16)
    freeze(model, ["vision tower"])
    keep_trained_in_fp32(model)
    types = {(part_of(name) == "vision tower", parameter.dtype) for name, parameter in model.named_parameters()}
    assert types == {(True, torch.bfloat16), (False, torch.float32)}
