"""The model card of an export: the run's, with how to serve these files, and what was proven."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..training.model_card import CARD_FILE, PROJECT, is_published

OURS = ("## Read with it", "## Serve it", "## Export")
WHAT_SERVES = {
    "transformers": "`transformers serve`",
    "vllm": "vLLM",
    "sglang": "SGLang",
    "gguf": "llama.cpp",
    "ollama": "Ollama",
    "adapter": "vLLM, beside its base",
}


def render(earlier: str | None, name: str, base: str, engine: str, command: str, record: Mapping[str, Any]) -> str:
    """The whole file.

    Args:
        earlier: the card of what was exported, whose results and recipe are kept; None without one.
        base: name of the base model.
        record: what ``export.json`` holds.
    """
    head, sections = _sections(earlier) if earlier else (_head(name, base, engine), {})
    kept = {title: text for title, text in sections.items() if title not in OURS}
    last = {title: kept.pop(title) for title in ("## Versions", "## Licence") if title in kept}
    own = {
        "## Serve it": f"With {WHAT_SERVES[engine]}:\n\n```bash\n{command}\n```",
        "## Export": "\n".join(f"- {line}" for line in findings(record)),
    }
    body = "".join(f"\n{title}\n\n{text.strip()}\n" for title, text in (kept | own | last).items())
    return _as_exported(head, engine) + body


def _sections(card: str) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and the text of each by its title."""
    head, *parts = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    titled = (part.partition("\n") for part in parts)
    return head.rstrip() + "\n", {title.strip(): text for title, _, text in titled}


def _as_exported(head: str, engine: str) -> str:
    """The hub's block of a merged adapter says that it is a whole model."""
    if engine == "adapter":
        return head
    head = head.replace("library_name: peft", "library_name: transformers").replace("\n- lora\n", "\n")
    return head.replace("base_model_relation: adapter", "base_model_relation: finetune")


def _head(name: str, base: str, engine: str) -> str:
    library = "peft" if engine == "adapter" else "transformers"
    relation = "adapter" if engine == "adapter" else "finetune"
    named = f"base_model: {base}\nbase_model_relation: {relation}\n" if is_published(base) else ""
    return (
        f"---\nlibrary_name: {library}\npipeline_tag: image-to-text\ntags:\n- glm-ocr\n- ocr\n{named}---\n"
        f"\n# {name}\n\nExported with [glm-ocr-finetune]({PROJECT}).\n"
    )


def findings(record: Mapping[str, Any]) -> list[str]:
    """What is known of the export, a sentence each."""
    told = [record["weights"], record["drafts"], record["proof"]]
    told += [record[name] for name in ("rounding", "four_bit", "note") if record.get(name)]
    return [str(line) for line in told if line]


def card_of(model: str) -> str | None:
    """The card of a local checkpoint, or None."""
    file = Path(model) / CARD_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None
