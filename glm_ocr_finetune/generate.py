"""Reading images: batched greedy generation, and which answers ended by a stop token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .collate import image_to_pixels, stack_inputs
from .images import open_upright
from .processor import PixelBudget

if TYPE_CHECKING:
    from .prompt import PromptRenderer


@dataclass(frozen=True)
class Generated:
    """One answer.

    Attributes:
        text: decoded without special tokens.
        token_ids: the answer's ids, without the stop token and the padding after it.
        stopped: whether the model ended the answer itself, by any of its stop tokens.
    """

    text: str
    token_ids: list[int]
    stopped: bool


def stop_token_ids(model: Any) -> list[int]:
    """Every id that ends an answer, from the generation configuration."""
    ids = model.generation_config.eos_token_id
    return [ids] if isinstance(ids, int) else list(ids)


def generate(
    model: Any,
    renderer: PromptRenderer,
    images: Sequence[Any],
    prompts: Sequence[str],
    max_new_tokens: int,
    repetition_penalty: float = 1.0,
) -> list[Generated]:
    """Read one batch of images greedily.

    Args:
        images: B images in any form that ``images.open_upright`` takes.
        prompts: B prompts.
        max_new_tokens: longest answer, the stop token included.
        repetition_penalty: 1.0 is none; above it, repeated tokens are made less likely.

    Raises:
        ImageError: an image cannot be read.
    """
    import torch

    processor = renderer.processor
    budget = PixelBudget.of(processor)
    pixels = [image_to_pixels(open_upright(image), processor, budget) for image in images]
    sequences = [renderer.prompt_ids(prompt, one.num_tokens) for prompt, one in zip(prompts, pixels, strict=True)]
    inputs = {name: value.to(model.device) for name, value in stack_inputs(sequences, pixels, renderer, "left").items()}
    options = {} if repetition_penalty == 1.0 else {"repetition_penalty": repetition_penalty}
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, **options)
    return [_cut(ids, model, renderer) for ids in output[:, inputs["input_ids"].shape[1] :].tolist()]


def _cut(ids: list[int], model: Any, renderer: PromptRenderer) -> Generated:
    stops = set(stop_token_ids(model))
    end = next((i for i, token in enumerate(ids) if token in stops), None)
    answer = ids if end is None else ids[:end]
    return Generated(renderer.tokenizer.decode(answer, skip_special_tokens=True), answer, end is not None)


def generate_all(
    model: Any,
    renderer: PromptRenderer,
    images: Sequence[Any],
    prompts: Sequence[str],
    batch_size: int,
    max_new_tokens: int,
    repetition_penalty: float = 1.0,
    order: Sequence[int] | None = None,
) -> Iterator[tuple[int, Generated]]:
    """Read many images in batches, yielding (position, answer) as they are done.

    ``order`` puts samples of like length together; positions refer to ``images``.
    """
    order = range(len(images)) if order is None else order
    for start in range(0, len(order), batch_size):
        chosen = list(order[start : start + batch_size])
        answers = generate(
            model,
            renderer,
            [images[i] for i in chosen],
            [prompts[i] for i in chosen],
            max_new_tokens,
            repetition_penalty,
        )
        yield from zip(chosen, answers, strict=True)
