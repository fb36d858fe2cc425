"""What a plan counts from: a model's configuration and processor, without its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..args import DEFAULT_MODEL
from ..errors import UserError
from ..inputs.processor import load_processor
from ..model.loading import load_config, resolve_model_path
from ..model.tiny import tiny_path

if TYPE_CHECKING:
    from transformers import Glm46VProcessor, GlmOcrConfig

SHAPES = Path(__file__).parents[1] / "assets" / "glm-ocr" / "shapes.json"

BY_BYTES = (
    f"{DEFAULT_MODEL} is not on this machine and the hub cannot be reached: shapes and image tokens are the published "
    "ones, and texts are counted as one token a byte, which is never too few and three to four times too many for "
    "plain English; run it where the model is for exact lengths"
)


@dataclass(frozen=True)
class Known:
    """What lengths and memory are counted from, and what has to be said of it."""

    config: GlmOcrConfig
    processor: Glm46VProcessor
    note: str = ""


def known_of(model_name: str, min_pixels: int | None, max_pixels: int | None) -> Known:
    """Configuration and processor of a model; for GLM-OCR itself they need neither a network nor a download.

    Its tokenizer is too large to come along. The tiny model's has the same special tokens and one token for each
    byte of text; GLM-OCR's merges bytes, so that it never makes more.

    Raises:
        UserError: the model cannot be found.
    """
    path = resolve_model_path(model_name)
    try:
        return Known(load_config(path), load_processor(path, min_pixels, max_pixels))
    except UserError:
        if model_name != DEFAULT_MODEL:
            raise
    shapes = json.loads(SHAPES.read_text(encoding="utf-8"))
    smallest = shapes["min_pixels"] if min_pixels is None else min_pixels
    largest = shapes["max_pixels"] if max_pixels is None else max_pixels
    return Known(published_config(shapes), load_processor(tiny_path("tiny"), smallest, largest), BY_BYTES)


def published_config(shapes: dict[str, Any]) -> GlmOcrConfig:
    """The configuration that these numbers describe."""
    from transformers import GlmOcrConfig

    return GlmOcrConfig(text_config=shapes["text_config"], vision_config=shapes["vision_config"])
