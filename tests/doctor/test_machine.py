"""The machine: GPUs in words, folders that cannot be written, a hub that does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.doctor import machine
from glm_ocr_finetune.doctor.machine import disk_and_memory, folders, hub, hub_home, is_cached, judged

H100: dict[str, Any] = {"name": "NVIDIA H100", "capability": "9.0", "free_gb": 70.0, "total_gb": 85.0, "bf16": True}


def test_gpus_in_words() -> None:
    found, other = judged([H100, H100 | {"bf16": False, "capability": "7.5"}], "13.0", None, 8, driver=True)
    assert found.found == ("NVIDIA H100, capability 9.0, trains in bf16, 70.0 of 85.0 GB free; torch for CUDA 13.0")
    assert "capability 7.5, trains in fp16 (no bf16)" in other.found
    assert (found.what, other.what, found.state) == ("GPU 0", "GPU 1", "ok")


def test_no_gpu_is_no_fault_unless_there_is_a_driver() -> None:
    (none,) = judged([], None, None, 2, driver=False)
    assert (none.state, none.found) == ("ok", "none: trains and reads in fp32 on the CPU, threads: 2; torch for CPUs")
    (unseen,) = judged([], None, None, 2, driver=True)
    assert unseen.state == "BROKEN"
    assert unseen.mend is not None
    assert "--index-url" in unseen.mend
    (hidden,) = judged([], "13.0", None, 2, driver=True)
    assert hidden.mend is not None
    assert "CUDA_VISIBLE_DEVICES" in hidden.mend
    assert judged([], None, "mps", 2, driver=False)[0].found == "mps; torch for CPUs"


def test_a_cache_that_cannot_be_written_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")  # no permission stops root, a file does
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    of_hub, own, here = folders()
    assert (of_hub.state, own.state, here.state) == ("BROKEN", "ok", "ok")
    assert of_hub.found.startswith(f"{tmp_path}/file cannot be written")
    assert of_hub.mend == "export HF_HOME=FOLDER, one that you can write to"


def test_where_the_hub_s_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_home() == Path.home() / ".cache" / "huggingface" == Path(constants.default_home) / "huggingface"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert hub_home() == Path("/elsewhere/huggingface")
    monkeypatch.setenv("HF_HOME", "~/hf")
    assert hub_home() == Path.home() / "hf"


def test_offline_is_no_fault_and_says_how_to_get_the_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    answers, base = hub()
    assert (answers.state, answers.found) == ("note", "HF_HUB_OFFLINE is set")
    assert base.mend is not None
    assert "hf download" in base.mend
    snapshot = tmp_path / "models--zai-org--GLM-OCR" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    assert not is_cached("zai-org/GLM-OCR")
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    assert [one.state for one in hub()] == ["ok", "ok"]


def test_little_room_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.what for one in disk_and_memory()] == ["disk, here", "memory"]
    monkeypatch.setattr(machine, "ROOM_GB", 1e9)
    monkeypatch.setattr(machine, "MEMORY_GB", 1e9)
    assert [one.state for one in disk_and_memory()] == ["note", "note"]
