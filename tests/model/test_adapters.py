"""LoRA: which layers get an adapter, how it is scaled, and what an adapter folder names as its base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.model.adapters import (
    adapter_base,
    add_lora,
    check_adapter_arguments,
    check_servable,
    lora_target_modules,
)
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.model.parts import freeze

TOWER, PROJECTOR = "vision tower", "multi-modal projector"


@pytest.mark.parametrize("frozen", [[TOWER, PROJECTOR], [PROJECTOR], []])
def test_adapters_go_on_the_parts_being_trained_only(frozen: list[str]) -> None:
    model = load_weights("tiny-random")
    freeze(model, frozen)
    names = lora_target_modules(model, "all")
    assert any(".language_model." in name for name in names)
    assert any(".visual.blocks." in name for name in names) == (TOWER not in frozen)
    assert any(".visual.merger." in name for name in names) == (PROJECTOR not in frozen)
    assert "lm_head" not in names


def test_named_layers_alone() -> None:
    model = load_weights("tiny-random")
    freeze(model, [TOWER, PROJECTOR])
    names = lora_target_modules(model, " q_proj, v_proj ")
    assert {name.rsplit(".", 1)[-1] for name in names} == {"q_proj", "v_proj"}
    assert len(names) == 2 * model.config.text_config.num_hidden_layers


@pytest.mark.parametrize("target", ["lm_head", "q_proj,attn", " , "])
def test_a_layer_that_is_not_there_is_refused_with_those_that_are(target: str) -> None:
    model = load_weights("tiny-random")
    freeze(model, [TOWER, PROJECTOR])
    with pytest.raises(UserError, match=r"--lora_target .* expected 'all' or some of: .*q_proj"):
        lora_target_modules(model, target)


def test_a_layer_becomes_its_weight_and_the_scaled_product() -> None:
    """W x becomes W x + alpha / rank * B A x, and starts as W x."""
    model = load_weights("tiny-random")
    freeze(model, [TOWER, PROJECTOR])
    layer = add_lora(
        model, rank=4, alpha=12, dropout=0.0, lora_target="q_proj"
    ).base_model.model.model.language_model.layers[0]
    adapted = layer.self_attn.q_proj
    x = torch.randn(3, adapted.in_features)
    torch.testing.assert_close(adapted(x), adapted.base_layer(x))
    down, up = adapted.lora_A["default"].weight, adapted.lora_B["default"].weight
    assert down.shape[0] == 4
    torch.nn.init.normal_(up)
    torch.testing.assert_close(adapted(x), adapted.base_layer(x) + 12 / 4 * x @ down.T @ up.T)


def test_everything_but_the_adapters_is_frozen() -> None:
    model = load_weights("tiny-random")
    freeze(model, [TOWER, PROJECTOR])
    wrapped = add_lora(model, 4, 8, 0.0, "all")
    assert all(".lora_" in name for name, parameter in wrapped.named_parameters() if parameter.requires_grad)


def test_the_base_is_what_was_typed_in_training_else_what_peft_wrote(tmp_path: Path) -> None:
    assert adapter_base(str(tmp_path)) is None
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "/peft/base"}), encoding="utf-8"
    )
    assert adapter_base(str(tmp_path)) == "/peft/base"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((True, 0, None, 0.0, False), "--lora_rank is 0"),
        ((True, 8, 0, 0.0, False), "--lora_alpha is 0"),
        ((True, 8, None, 1.0, False), r"--lora_dropout is 1\.0"),
        ((False, 8, None, 0.0, True), "--load_in_4bit True needs --use_lora True"),
    ],
)
def test_arguments_that_cannot_work(given: tuple[bool, int, int | None, float, bool], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_adapter_arguments(*given)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"use_dora": True}, "has use_dora True, which vLLM does not load; merge it instead: --for vllm"),
        ({"bias": "lora_only"}, "has bias 'lora_only'"),
        ({"modules_to_save": ["lm_head"]}, r"has modules_to_save \['lm_head'\]"),
        (
            {"target_modules": ["model.visual.merger.proj", "q_proj"]},
            "adapts 1 layers of the vision tower or projector",
        ),
    ],
)
def test_what_vllm_does_not_load_beside_a_base_is_told(config: dict[str, object], told: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"bias": "none", "modules_to_save": None} | config))
    with pytest.raises(UserError, match=told):
        check_servable(str(tmp_path))


def test_an_adapter_of_the_language_model_is_servable(tmp_path: Path) -> None:
    config = {
        "bias": "none",
        "use_dora": False,
        "modules_to_save": None,
        "target_modules": ["model.language_model.layers.0.mlp.down_proj"],
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    check_servable(str(tmp_path))
