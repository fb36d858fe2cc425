"""The card of an export keeps what the run says of the model, and replaces how it is served."""

from __future__ import annotations

from typing import Any

import yaml

from glm_ocr_finetune.exporting.card import findings, render

RECORD: dict[str, Any] = {
    "weights": "Merged.",
    "drafts": "With drafts.",
    "proof": "Proven.",
    "rounding": "None.",
    "note": "",
}
EARLIER = """---
library_name: peft
tags:
- glm-ocr
- lora
base_model: zai-org/GLM-OCR
base_model_relation: adapter
---

# lora

GLM-OCR with an adapter.

## Results

| a | b |

## Read with it

old

## Serve it

old

## Versions

1.

## Licence

Free.
"""


def front(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---")[1]))


def test_results_stay_and_serving_is_new() -> None:
    card = render(EARLIER, "tuned", "zai-org/GLM-OCR", "vllm", "vllm serve tuned", RECORD)
    titles = [line for line in card.splitlines() if line.startswith("#")]
    assert titles == ["# lora", "## Results", "## Serve it", "## Export", "## Versions", "## Licence"]
    assert "| a | b |" in card
    assert "old" not in card
    assert "vllm serve tuned" in card
    assert "- Proven." in card


def test_a_merged_adapter_is_a_whole_model() -> None:
    found = front(render(EARLIER, "tuned", "zai-org/GLM-OCR", "vllm", "", RECORD))
    assert (found["library_name"], found["base_model_relation"], found["tags"]) == (
        "transformers",
        "finetune",
        ["glm-ocr"],
    )
    kept = front(render(EARLIER, "tuned", "zai-org/GLM-OCR", "adapter", "", RECORD))
    assert (kept["library_name"], kept["base_model_relation"]) == ("peft", "adapter")


def test_without_an_earlier_card_there_is_a_short_one() -> None:
    card = render(None, "tuned", "zai-org/GLM-OCR", "gguf", "llama-server", RECORD)
    assert front(card)["base_model"] == "zai-org/GLM-OCR"
    assert "With llama.cpp:" in card
    assert "base_model" not in front(render(None, "tuned", "/somewhere/base", "gguf", "", RECORD))


def test_what_is_not_known_is_left_out() -> None:
    assert findings(RECORD) == ["Merged.", "With drafts.", "Proven.", "None."]
