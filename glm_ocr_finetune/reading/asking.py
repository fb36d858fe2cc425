"""How a model is asked: with the prompt and the prompt format it was tuned with, unless others are given."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..args import DEFAULT_PROMPT
from ..model.checkpoint import Sidecar, read_sidecar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asking:
    """The prompt of images that bring none of their own, and its format."""

    prompt: str
    prompt_format: str


def how_to_ask(model: str, adapter: str | None, prompt: str | None, prompt_format: str | None) -> Asking:
    """What is given wins, then what the checkpoint was tuned with, then what servers send; said where it matters."""
    tuned_model = adapter or model
    tuned = read_sidecar(tuned_model)
    if tuned is None:
        return Asking(DEFAULT_PROMPT if prompt is None else prompt, prompt_format or "serve")
    asking = Asking(tuned.prompt if prompt is None else prompt, prompt_format or tuned.prompt_format)
    _tell(asking, tuned, tuned_model)
    return asking


def _tell(asking: Asking, tuned: Sidecar, name: str) -> None:
    if (asking.prompt, asking.prompt_format) != (tuned.prompt, tuned.prompt_format):
        logger.info(
            "prompt %r (%s) as given; %s was tuned with %r (%s)",
            *(asking.prompt, asking.prompt_format, name, tuned.prompt, tuned.prompt_format),
        )
        return
    others = (
        f"; also tuned with, for --prompt: {', '.join(map(repr, tuned.other_prompts))}" if tuned.other_prompts else ""
    )
    logger.info("prompt %r (%s): what %s was tuned with%s", asking.prompt, asking.prompt_format, name, others)
