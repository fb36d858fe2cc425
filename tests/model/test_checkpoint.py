"""What a checkpoint holds besides the weights is read back as it was written, and nothing of the weights is lost."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from glm_ocr_finetune.model.checkpoint import SIDECAR, Sidecar, carried_mtp_tensors, read_sidecar, save_model
from glm_ocr_finetune.model.loading import load_weights


def test_the_sidecar_comes_back_in_any_script(tmp_path: Path) -> None:
    written = Sidecar("owner/base", "Читай:\nيسار", "no_think")
    written.write(tmp_path)
    assert read_sidecar(tmp_path) == written
    assert {"transformers", "torch"} <= written.versions.keys()
    assert "Читай" in (tmp_path / SIDECAR).read_text(encoding="utf-8")
    assert read_sidecar(tmp_path / "nowhere") is None


def test_a_saved_model_has_every_tensor_of_its_base(tiny_random: Path, tmp_path: Path) -> None:
    model = load_weights("tiny-random")
    carried = carried_mtp_tensors(model)
    assert len(carried) == 16
    save_model(model, tmp_path, carried)
    before, after = load_file(tiny_random / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    for name in carried:
        assert torch.equal(before[name], after[name])
    assert (
        json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["text_config"]["num_nextn_predict_layers"]
        == 1
    )


def test_gathered_weights_replace_the_model_s_own(tmp_path: Path) -> None:
    model = load_weights("tiny-random")
    gathered = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    save_model(model, tmp_path, {}, gathered)
    assert not any(value.any() for value in load_file(tmp_path / "model.safetensors").values())
    assert model.lm_head.weight.any()
