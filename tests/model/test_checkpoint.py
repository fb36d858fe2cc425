"""What a checkpoint says of itself is read back, from a directory or from the hub, by older and newer versions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.model.adapters import adapter_base
from glm_ocr_finetune.model.checkpoint import SIDECAR, Sidecar, carried_mtp_tensors, read_sidecar, save_model, stored_as
from glm_ocr_finetune.model.loading import lasting_name, load_for_reading, load_model, load_weights


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = Sidecar("owner/name", "Tabelle erkennen:", "no_think", 4096, ["Formula Recognition:"])
    written.write(tmp_path)
    assert read_sidecar(tmp_path) == written


def test_keys_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / SIDECAR).write_text('{"base_model": "tiny", "prompt": "P:", "prompt_format": "serve", "colour": [1]}')
    found = read_sidecar(tmp_path)
    assert found is not None
    assert (found.prompt, found.max_length) == ("P:", None)


def test_keys_that_an_older_version_did_not_write_have_their_defaults(tmp_path: Path) -> None:
    (tmp_path / SIDECAR).write_text("{}")
    assert read_sidecar(tmp_path) == Sidecar()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"a"', "\udcff", '{"prompt": 5}'])
def test_a_damaged_sidecar_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / SIDECAR).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=f"{SIDECAR} is damaged"):
        read_sidecar(tmp_path)


def test_a_directory_is_found_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert lasting_name("./base") == lasting_name("base") == str(tmp_path / "base")
    assert lasting_name("tiny") == "tiny"  # the model of that name, whatever lies in the folder
    assert lasting_name("zai-org/GLM-OCR") == "zai-org/GLM-OCR"


@pytest.fixture
def adapter(tiny_random: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter trained in ``tmp_path`` on the relative path ``./base``; as peft saves it, without a sidecar."""
    shutil.copytree(tiny_random, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    model, _ = load_model("./base", use_lora=True, lora_rank=2)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_of_a_relative_base_reads_from_elsewhere(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(adapter.parent / "base")
    elsewhere = adapter.parent / "sub"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert adapter_base("../adapter") == named
    load_for_reading("../adapter", device_map="cpu")


@pytest.mark.parametrize("recorded", ["{here}/gone", "./gone"])
def test_a_base_that_is_gone_is_named_with_what_mends_it(adapter: Path, recorded: str) -> None:
    file = adapter / "adapter_config.json"
    named = recorded.format(here=adapter.parent)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": named}))
    with pytest.raises(UserError, match=r"was trained on .*gone, which is not there; .* --model BASE --adapter"):
        load_for_reading(str(adapter), device_map="cpu")
    load_for_reading(str(adapter.parent / "base"), adapter=str(adapter), device_map="cpu")


def test_a_sidecar_on_the_hub_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a hub id, as the client keeps them once they were fetched."""
    folder = tmp_path / "models--someone--tuned"
    snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    Sidecar("zai-org/GLM-OCR", "Formula Recognition:", "no_think").write(snapshot)
    (snapshot / "adapter_config.json").write_text('{"base_model_name_or_path": "./elsewhere"}')
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = read_sidecar("someone/tuned")
    assert found is not None
    assert found.prompt == "Formula Recognition:"
    assert adapter_base("someone/tuned") == "zai-org/GLM-OCR"
    assert read_sidecar("someone/base") is None
    assert os.listdir(tmp_path) == [folder.name]


def test_stochastic_rounding_keeps_the_expected_value() -> None:
    """A change of a hundredth of a step of bf16 is lost to the nearest, and is there on average otherwise."""
    step = 2.0**-7
    for sign in (1.0, -1.0):
        weights = torch.full((200_000,), sign * (1 + step / 100))
        stored = stored_as({"w": weights}, torch.bfloat16, seed=3)["w"]
        assert set(stored.float().unique().tolist()) == {sign, sign * (1 + step)}
        moved = (stored.float() - sign).abs().mean().item()
        assert moved == pytest.approx(step / 100, rel=0.1)
        assert torch.equal(weights.to(torch.bfloat16), torch.full_like(stored, sign))


def test_what_bf16_can_hold_stays_and_so_do_infinities_and_integers() -> None:
    held = torch.randn(5_000, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, 3.4028e38])
    weights = {"held": held.float(), "already": held, "special": special, "count": torch.tensor([3])}
    stored = stored_as(weights, torch.bfloat16)
    assert torch.equal(stored["held"], held)
    assert stored["already"] is held
    assert stored["count"].dtype == torch.int64
    found = stored["special"].float()
    assert found[2:4].tolist() == [float("inf"), -float("inf")]
    assert bool(found[4].isnan())
    assert found[:2].tolist() == [0.0, 0.0]


def test_rounding_is_the_same_for_a_seed_and_a_name_only() -> None:
    weights = torch.randn(1_000, generator=torch.Generator().manual_seed(0))
    one, other = ({"a": weights, "b": weights}, {"b": weights.t(), "a": weights})
    first, again = stored_as(one, torch.bfloat16, 1), stored_as(other, torch.bfloat16, 1)
    assert torch.equal(first["a"], again["a"])
    assert torch.equal(first["b"], again["b"])
    assert not torch.equal(first["a"], first["b"])
    assert not torch.equal(first["a"], stored_as(one, torch.bfloat16, 2)["a"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_types_are_rounded_to_the_nearest(dtype: torch.dtype) -> None:
    weights = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stored_as({"w": weights}, dtype)["w"], weights.to(dtype))


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
