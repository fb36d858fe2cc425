"""Freezing and adapting, on the tiny model and on the names and shapes of the real one."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.model.adapters import adapter_base, lora_target_modules
from glm_ocr_finetune.model.loading import load_for_reading, load_model
from glm_ocr_finetune.model.mtp import mtp_prefix, mtp_shapes, read_mtp_tensors
from glm_ocr_finetune.model.parts import PARTS, count_parts, freeze, linear_layers, part_of


@pytest.fixture(scope="module")
def real(shared: Path) -> Any:
    """The real architecture on the meta device."""
    from transformers import GlmOcrConfig, GlmOcrForConditionalGeneration

    config = GlmOcrConfig(**json.loads((shared / "glm-ocr" / "config.json").read_text()))
    with torch.device("meta"):
        return GlmOcrForConditionalGeneration(config)


def trainable_parts(model: torch.nn.Module) -> set[str]:
    return {part_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_real_names_and_shapes_are_those_of_the_checkpoint(shared: Path, real: Any) -> None:
    inventory = json.loads((shared / "glm-ocr" / "tensor_inventory.json").read_text())
    expected = {name: shape for name, shape in inventory.items() if not name.startswith(mtp_prefix(real.config))}
    assert {name: list(parameter.shape) for name, parameter in real.named_parameters()} == expected
    assert {name for name in inventory if name not in expected} == set(mtp_shapes(real.config))


@pytest.mark.parametrize(("tower", "projector"), list(product([True, False], repeat=2)))
def test_freeze_flags_are_independent_on_the_real_shapes(real: Any, tower: bool, projector: bool) -> None:
    frozen = [part for part, asked in (("vision tower", tower), ("multi-modal projector", projector)) if asked]
    freeze(real, frozen)
    assert trainable_parts(real) == set(PARTS) - set(frozen)
    millions = {part.name: round(part.parameters / 1e6, 1) for part in count_parts(real)}
    assert millions == {"vision tower": 404.2, "multi-modal projector": 29.9, "language model": 673.3}


def test_lora_targets_on_the_real_shapes(real: Any) -> None:
    freeze(real, ["vision tower", "multi-modal projector"])
    targets = lora_target_modules(real, "all")
    assert len(targets) == 16 * 6
    assert {part_of(name) for name in targets} == {"language model"}
    freeze(real, ["multi-modal projector"])
    assert len(lora_target_modules(real, "all")) == 16 * 6 + 24 * 5
    freeze(real, ["vision tower"])
    assert len(lora_target_modules(real, "all")) == 16 * 6 + 4
    assert len(lora_target_modules(real, "q_proj, v_proj")) == 32
    assert all("lm_head" not in names for names in linear_layers(real).values())


def test_a_model_without_one_of_the_parts_is_an_error(real: Any) -> None:
    with pytest.raises(ValueError, match="no parameter of this model belongs to: language model"):
        freeze(torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"visual": real.model.visual})}), [])


def test_name_of_no_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="vision_tower.conv belongs to no part"):
        part_of("vision_tower.conv")


def test_unknown_lora_target_lists_the_known_ones(real: Any) -> None:
    freeze(real, ["vision tower", "multi-modal projector"])
    with pytest.raises(UserError, match=r"--lora_target 'qkv'.*down_proj, gate_up_proj, k_proj"):
        lora_target_modules(real, "qkv")


def test_trained_weights_are_fp32_and_adapters_have_their_rank(tiny_random: Path) -> None:
    model, _ = load_model(str(tiny_random), use_lora=True, lora_rank=4)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    ranks = {part.name: part.rank for part in count_parts(model)}
    assert ranks == {"vision tower": None, "multi-modal projector": None, "language model": 4}
    assert model.peft_config["default"].lora_alpha == 8


def test_four_bit_quantises_the_language_model_only(tiny_random: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model, _ = load_model(str(tiny_random), use_lora=True, load_in_4bit=True)
    quantised = {name for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)}
    assert len(quantised) == 4 * 6
    assert {part_of(name.removesuffix(".base_layer")) for name in quantised} == {"language model"}
    assert not any(name.endswith("lm_head") for name in quantised)
    language = count_parts(model)[2]
    assert language.parameters == 2043072


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_lora": True, "lora_rank": 0}, "--lora_rank is 0"),
        ({"use_lora": True, "lora_alpha": 0}, "--lora_alpha is 0"),
        ({"use_lora": True, "lora_dropout": 1.0}, "--lora_dropout is 1.0"),
        ({"load_in_4bit": True}, "--load_in_4bit True needs --use_lora True"),
    ],
)
def test_adapter_arguments_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model("tiny-random", **options)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="model of type 'bert'; expected 'glm_ocr'"):
        load_model(str(tmp_path))


def test_default_model_without_a_network_says_how_to_go_on() -> None:
    with pytest.raises(UserError, match=r"hf download zai-org/GLM-OCR.*or try without one: tiny"):
        load_model()


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_model(str(tmp_path))


def test_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="holds no model that can be read"):
        load_model(str(tmp_path))


def test_base_that_lost_its_mtp_layer_is_declared_without_one(tiny_random: Path, tmp_path: Path) -> None:
    from transformers import GlmOcrForConditionalGeneration

    from glm_ocr_finetune.inputs.processor import load_processor, save_processor

    GlmOcrForConditionalGeneration.from_pretrained(tiny_random).save_pretrained(tmp_path)
    save_processor(load_processor(tiny_random), tmp_path)
    model, _ = load_model(str(tmp_path))
    assert read_mtp_tensors(str(tmp_path), model.config) == {}
    assert model.config.text_config.num_nextn_predict_layers == 0


def test_adapter_reads_as_its_merged_model(tiny_random: Path, tmp_path: Path) -> None:
    model, _ = load_model(str(tiny_random), use_lora=True, lora_rank=2)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.1)
    name = "model.language_model.layers.1.self_attn.q_proj"
    layer = model.base_model.model.get_submodule(name)
    expected = layer.base_layer.weight + 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    model.save_pretrained(tmp_path)
    assert adapter_base(str(tmp_path)) == str(tiny_random)
    merged, _, prompt_format = load_for_reading(str(tmp_path), device_map="cpu")
    torch.testing.assert_close(merged.get_submodule(name).weight, expected)
    assert prompt_format == "serve"


def test_adapter_folder_without_an_adapter(tiny_random: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no adapter_config\.json"):
        load_for_reading(str(tiny_random), adapter=str(tmp_path))


def test_adapter_is_no_model_to_train(tiny_random: Path, tmp_path: Path) -> None:
    model, _ = load_model(str(tiny_random), use_lora=True)
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a LoRA adapter, not a model"):
        load_model(str(tmp_path))


def test_attention_makes_no_plan_for_every_length() -> None:
    """cuDNN's does: a new length is a new plan, 20 ms each on an H100 for attention with a mask."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    load_model("tiny-random")
    assert not torch.backends.cuda.cudnn_sdp_enabled()
