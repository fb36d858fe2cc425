"""The tiny model has the names, tokens and template of the real one."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.inputs.special_tokens import SPECIAL_TOKENS
from glm_ocr_finetune.model import tiny
from glm_ocr_finetune.model.mtp import mtp_shapes

IMAGE_TURN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Text Recognition:"}]}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [IMAGE_TURN],
    [{"role": "user", "content": "Table Recognition:"}],
    [{"role": "user", "content": "quiet /nothink"}],
    [IMAGE_TURN, {"role": "assistant", "content": [{"type": "text", "text": " Hello! "}]}],
    [IMAGE_TURN, {"role": "assistant", "content": "cut </think> here"}, {"role": "user", "content": "again"}],
    [{"role": "system", "content": "Read."}, IMAGE_TURN, {"role": "assistant", "content": ""}],
]
OPTIONS: list[dict[str, bool]] = [{}, {"add_generation_prompt": True}, {"enable_thinking": False}]


@pytest.mark.parametrize(("messages", "options"), list(product(CONVERSATIONS, [*OPTIONS, OPTIONS[1] | OPTIONS[2]])))
def test_template_renders_as_the_real_one(
    shared: Path, processor: Any, messages: list[dict[str, Any]], options: dict[str, bool]
) -> None:
    real = (shared / "glm-ocr" / "chat_template.jinja").read_text()
    ours = processor.apply_chat_template(messages, tokenize=False, **options)
    assert ours == processor.apply_chat_template(messages, tokenize=False, chat_template=real, **options)


def test_special_tokens_are_in_the_real_order(shared: Path) -> None:
    real = json.loads((shared / "glm-ocr" / "special_tokens.json").read_text())
    assert sorted(real, key=real.get) == list(SPECIAL_TOKENS)


def test_special_tokens_have_the_ids_of_the_configuration(processor: Any) -> None:
    config = tiny.build_config()
    ids = processor.tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS))
    assert ids == list(range(ids[0], ids[0] + 36))
    assert config.text_config.eos_token_id == processor.tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|user|>"])
    assert processor.tokenizer.pad_token_id == config.text_config.eos_token_id[0]


def test_any_text_survives_the_tokenizer(processor: Any) -> None:
    text = "Zażółć  gęślą\nាខ្មែរ \U0001f600 \t end"
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == text


def test_shape_is_one_that_vllm_reads_rightly() -> None:
    config = tiny.build_config()
    assert config.text_config.intermediate_size == 3 * config.vision_config.out_hidden_size
    assert config.text_config.hidden_size == config.vision_config.out_hidden_size
    assert config.text_config.head_dim == 64
    assert sum(config.text_config.rope_parameters["mrope_section"]) == 32


def test_mtp_names_and_shapes_are_the_real_ones(shared: Path) -> None:
    from transformers import GlmOcrConfig

    real = json.loads((shared / "glm-ocr" / "mtp_layer16_tensors.json").read_text())
    config = GlmOcrConfig(**json.loads((shared / "glm-ocr" / "config.json").read_text()))
    assert {name: list(shape) for name, shape in mtp_shapes(config).items()} == real


def test_written_checkpoint_has_both_stop_ids_and_the_pixel_budget(tiny_random: Path) -> None:
    generation = json.loads((tiny_random / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tiny.build_config().text_config.eos_token_id
    for name in ("preprocessor_config.json", "processor_config.json"):
        saved = json.loads((tiny_random / name).read_text())
        assert saved.get("image_processor", saved)["size"] == {"shortest_edge": 12544, "longest_edge": 9633792}


def test_the_tiny_model_is_known_by_its_shape_and_gets_its_own_rate(tiny_random: Path, tmp_path: Path) -> None:
    from glm_ocr_finetune.model.loading import is_tiny_model
    from glm_ocr_finetune.training_args import TrainingArguments

    copied = tmp_path / "tuned"
    shutil.copytree(tiny_random, copied)
    assert [is_tiny_model(name) for name in ("tiny", "tiny-random", str(copied), "zai-org/GLM-OCR", "nowhere")] == [
        *([True] * 3),
        *([False] * 2),
    ]
    config = json.loads((copied / "config.json").read_text())
    config["text_config"] |= {"hidden_size": 1536, "num_hidden_layers": 16}
    (copied / "config.json").write_text(json.dumps(config))
    assert not is_tiny_model(str(copied))
    rates = {}
    for small, lora in product((True, False), repeat=2):
        args = TrainingArguments(output_dir=str(tmp_path / "o"), report_to="none")
        args.settle_learning_rate(lora, small)
        rates[small, lora] = args.learning_rate
    assert rates == {(True, True): 3e-3, (True, False): 1e-3, (False, True): 1e-4, (False, False): 1e-5}
    given = TrainingArguments(output_dir=str(tmp_path / "o"), report_to="none", learning_rate=1e-5)
    given.settle_learning_rate(False, True)
    assert given.learning_rate == 1e-5
