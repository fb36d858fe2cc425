"""The processor of a checkpoint and its pixel budget, which travels with every model that is saved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, first_line
from ..network import only_local
from .geometry import FRAMES, PIXELS_PER_TOKEN
from .images import num_image_tokens

if TYPE_CHECKING:
    from transformers import Glm46VProcessor

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class PixelBudget:
    """Bounds on the pixels, height x width, of an image after resizing to multiples of 28."""

    min_pixels: int
    max_pixels: int

    @classmethod
    def of(cls, processor: Glm46VProcessor) -> PixelBudget:
        size = processor.image_processor.size
        return cls(size["shortest_edge"] // FRAMES, size["longest_edge"] // FRAMES)

    def num_image_tokens(self, height: int, width: int) -> int:
        """Image tokens of an image of this size; raises ImageError when it is too thin."""
        return num_image_tokens(height, width, self.min_pixels, self.max_pixels)


def load_processor(
    model_path: str | Path, min_pixels: int | None = None, max_pixels: int | None = None
) -> Glm46VProcessor:
    """The processor of a checkpoint, with its pixel budget changed where one is given.

    Raises:
        UserError: there is none, or no image could meet the budget.
    """
    from transformers import AutoProcessor

    options = {"trust_remote_code": False, "local_files_only": only_local(str(model_path))}
    try:
        processor = AutoProcessor.from_pretrained(model_path, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_processor(model_path, first_line(error)) from error
    if processor.chat_template is None or processor.tokenizer.pad_token_id is None:
        raise _no_processor(model_path, "it has no chat template or no padding token")
    set_pixel_budget(processor, min_pixels, max_pixels)
    return processor


def _no_processor(model_path: str | Path, why: str) -> UserError:
    """What is told of a processor that cannot be loaded: the first file that is missing, else ``why``."""
    folder = Path(model_path)
    missing = [name for name in FILES if folder.is_dir() and not (folder / name).is_file()]
    why = f"{missing[0]} is missing there; copy it from the base model" if missing else why
    return UserError(f"{model_path} holds no processor that can be read: {why}")


def set_pixel_budget(processor: Glm46VProcessor, min_pixels: int | None, max_pixels: int | None) -> PixelBudget:
    """Change the bounds that are given and return both. Raises UserError when no image could meet them."""
    old = PixelBudget.of(processor)
    new = PixelBudget(
        old.min_pixels if min_pixels is None else min_pixels, old.max_pixels if max_pixels is None else max_pixels
    )
    if not 0 < new.min_pixels <= new.max_pixels or new.max_pixels < PIXELS_PER_TOKEN:
        raise UserError(
            f"--min_pixels {new.min_pixels} and --max_pixels {new.max_pixels} leave no room for an image; "
            "expected 0 < min_pixels <= max_pixels and max_pixels of at least 784 (28 x 28)"
        )
    if new != old:
        size = {"shortest_edge": FRAMES * new.min_pixels, "longest_edge": FRAMES * new.max_pixels}
        processor.image_processor.size = type(processor.image_processor)(size=size).size
    return new


def save_processor(processor: Glm46VProcessor, directory: str | Path) -> None:
    """Write the processor, and ``preprocessor_config.json`` beside it for Ollama and older readers."""
    processor.save_pretrained(directory)
    image_processor = json.loads(processor.image_processor.to_json_string())
    legacy = image_processor | {"processor_class": type(processor).__name__}
    (Path(directory) / "preprocessor_config.json").write_text(json.dumps(legacy, indent=2) + "\n")
