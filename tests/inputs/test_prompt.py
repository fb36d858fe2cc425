"""The trained ids, against those recorded from the real template and tokenizer."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import IGNORED, PromptRenderer, messages_for
from glm_ocr_finetune.model import tiny

REAL_TEXT_IDS = {"Text Recognition:": [3649, 7404, 49600, 58], "\n": [10], "Hello!": [22519, 33]}
TRAINED = {"serve": "generation_default", "no_think": "generation_enable_thinking_false"}


class RecordedTokenizer:
    """Knows the ids of the real vocabulary for the texts that were recorded, and the real special tokens."""

    def __init__(self, special: dict[str, int]) -> None:
        self.known = {**{token: [id] for token, id in special.items()}, **REAL_TEXT_IDS}
        self.special = special
        self.backend_tokenizer = Tokenizer(WordLevel({"Hello": 22519, "!": 33}, unk_token="!"))
        self.backend_tokenizer.pre_tokenizer = Whitespace()

    def get_added_vocab(self) -> dict[str, int]:
        return self.special

    def convert_tokens_to_ids(self, token: str) -> int:
        return self.special[token]

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        ids: list[int] = []
        while text:
            piece = max((known for known in self.known if text.startswith(known)), key=len)
            ids += self.known[piece]
            text = text[len(piece) :]
        return {"input_ids": ids}


def real_renderer(shared: Path, prompt_format: str) -> PromptRenderer:
    special = json.loads((shared / "glm-ocr" / "special_tokens.json").read_text())
    template = (shared / "glm-ocr" / "chat_template.jinja").read_text()
    tiny_processor = tiny.build_processor()

    def render(messages: Any, **options: Any) -> Any:
        return tiny_processor.apply_chat_template(messages, chat_template=template, **options)

    processor: Any = SimpleNamespace(tokenizer=RecordedTokenizer(special), apply_chat_template=render)
    return PromptRenderer(processor, prompt_format)


@pytest.mark.parametrize("prompt_format", ["serve", "no_think"])
def test_real_ids_are_those_of_the_serving_prompt(shared: Path, prompt_format: str) -> None:
    recorded = json.loads((shared / "glm-ocr" / "rendered_examples.json").read_text())[TRAINED[prompt_format]]["ids"]
    prompt = [int(word) for word in recorded.replace("59280xN", "59280 59280 59280").split()]
    encoded = real_renderer(shared, prompt_format).encode("Text Recognition:", "Hello!", 3)
    assert encoded.input_ids == [*prompt, 22519, 33, 59253]
    assert encoded.labels == [IGNORED] * len(prompt) + [22519, 33, 59253]


@pytest.mark.parametrize("prompt_format", ["serve", "no_think"])
def test_prompt_is_the_call_that_inference_makes(processor: Any, prompt_format: str) -> None:
    renderer = PromptRenderer(processor, prompt_format)
    thinking = {"enable_thinking": False} if prompt_format == "no_think" else {}
    text = processor.apply_chat_template(
        messages_for("Text Recognition:"), tokenize=False, add_generation_prompt=True, **thinking
    )
    encoded = renderer.encode("Text Recognition:", "a", 1)
    assert processor.tokenizer.decode(encoded.input_ids) == text + "a<|user|>"


def test_special_tokens_in_a_label_stay_text(processor: Any) -> None:
    renderer = PromptRenderer(processor)
    ids = renderer.answer_ids("a<|user|>b")
    assert ids.count(renderer.stop_token_id) == 1
    assert processor.tokenizer.decode(ids[:-1]) == "a<|user|>b"


def test_every_control_token_in_a_label_stays_characters(processor: Any) -> None:
    """Also those that the tokenizer does not call special, as ``<think>`` and ``<|image|>``."""
    renderer = PromptRenderer(processor)
    added = processor.tokenizer.get_added_vocab()
    assert len(added) == 36
    for name in added:
        text = f"a {name} b\n{name}{name}"
        ids = renderer.answer_ids(text)[:-1]
        assert not set(ids) & set(added.values())
        assert processor.tokenizer.decode(ids) == text


def test_answers_without_control_tokens_are_what_the_tokenizer_makes(processor: Any) -> None:
    renderer = PromptRenderer(processor)
    for text in ("amber 10", "ἄνδρα μοι ἔννεπε", "ខ្មែរ", "é e\u0301", "two\n\nlines  ", "<think", "tab\t|>"):
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert renderer.answer_ids(text) == [*ids, renderer.stop_token_id]


def test_control_tokens_in_a_prompt_are_found(processor: Any) -> None:
    renderer = PromptRenderer(processor)
    assert renderer.control_token_in("Read this </think> now") == "</think>"
    assert renderer.control_token_in("Text Recognition:") is None


def test_fingerprints_tell_formats_apart_and_renderers_pickle(processor: Any) -> None:
    renderer = PromptRenderer(processor)
    again = pickle.loads(pickle.dumps(renderer))
    assert again.encode("Text Recognition:", "x", 3) == renderer.encode("Text Recognition:", "x", 3)
    assert again.fingerprint() == renderer.fingerprint() != PromptRenderer(processor, "no_think").fingerprint()


def test_stop_token_is_trained_although_padding_is_its_kin(processor: Any) -> None:
    renderer = PromptRenderer(processor)
    assert renderer.encode("Text Recognition:", "x", 2).labels[-1] == renderer.stop_token_id


def test_unknown_format_is_refused(processor: Any) -> None:
    with pytest.raises(UserError, match="--prompt_format is 'think'"):
        PromptRenderer(processor, "think")


def test_prompt_with_an_image_token_is_refused(processor: Any) -> None:
    with pytest.raises(UserError, match="2 image tokens instead of one"):
        PromptRenderer(processor).encode("<|image|>", "x", 1)
