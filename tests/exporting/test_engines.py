"""The command that serves an export says what the engine does not find out by itself."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from glm_ocr_finetune.command_args import ENGINES
from glm_ocr_finetune.exporting.engines import Served, modelfile, request_note, serving_command
from glm_ocr_finetune.inputs.processor import PixelBudget

REAL = Served(Path("/models/tuned"), PixelBudget(6_272, 4_816_896), 131_072, drafts=True)


def words(engine: str, served: Served = REAL) -> list[str]:
    return shlex.split(serving_command(engine, served).replace("\\\n", " "))


def value(found: list[str], flag: str) -> str:
    return found[found.index(flag) + 1]


def test_room_for_the_largest_image_and_the_longest_answer_of_the_sdk() -> None:
    assert REAL.max_model_len == 15_360  # 6,144 + 8,192 + 64, in steps of 1,024
    assert replace(REAL, longest=8_192).max_model_len == 8_192


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_a_command(engine: str) -> None:
    assert "/models/tuned" in serving_command(engine, replace(REAL, base="zai-org/GLM-OCR", rank=8))


def test_vllm_drafts_where_there_is_a_layer() -> None:
    found = words("vllm")
    assert found[:3] == ["vllm", "serve", "/models/tuned"]
    assert json.loads(value(found, "--speculative-config")) == {"method": "mtp", "num_speculative_tokens": 1}
    assert value(found, "--max-model-len") == "15360"
    assert "--speculative-config" not in words("vllm", replace(REAL, drafts=False))


@pytest.mark.parametrize(("rank", "allowed"), [(4, "8"), (8, "8"), (12, "16"), (300, "320")])
def test_a_live_adapter_brings_its_pixel_budget(rank: int, allowed: str) -> None:
    found = words("adapter", replace(REAL, base="zai-org/GLM-OCR", rank=rank))
    assert found[2] == "zai-org/GLM-OCR"
    assert json.loads(value(found, "--mm-processor-kwargs")) == {
        "size": {"shortest_edge": 12544, "longest_edge": 9633792}
    }
    assert value(found, "--max-lora-rank") == allowed
    assert value(found, "--lora-modules") == "tuned=/models/tuned"


def test_llama_cpp_gets_the_pixel_budget_in_tokens() -> None:
    found = words("gguf")
    assert (value(found, "--image-min-tokens"), value(found, "--image-max-tokens")) == ("8", "6144")


def test_llama_cpp_is_told_whether_to_think() -> None:
    """Left alone it renders the prompt of no_think for either."""
    assert value(words("gguf"), "--reasoning") == "on"
    assert value(words("gguf", replace(REAL, prompt_format="no_think")), "--reasoning") == "off"


def test_the_modelfile_stops_at_both_tokens() -> None:
    lines = modelfile(REAL).splitlines()
    assert lines[:3] == ["FROM .", "RENDERER glm-ocr", "PARSER glm-ocr"]
    assert 'PARAMETER stop "<|user|>"' in lines
    assert 'PARAMETER stop "<|endoftext|>"' in lines
    assert "PARAMETER temperature 0" in lines


def test_paths_with_spaces_are_quoted() -> None:
    assert words("vllm", replace(REAL, directory=Path("/my models/a b")))[2] == "/my models/a b"


def test_a_request_that_turns_thinking_off_is_told() -> None:
    assert request_note("vllm", REAL) == ""
    assert "enable_thinking" in request_note("vllm", replace(REAL, prompt_format="no_think"))
    assert '"think": false' in request_note("ollama", replace(REAL, prompt_format="no_think"))
