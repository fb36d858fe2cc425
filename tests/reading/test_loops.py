"""The rule that ends answers which repeat themselves, and its effect on reading."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from glm_ocr_finetune.inputs.images import open_upright
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import load_model
from glm_ocr_finetune.reading.generate import Request, generate_all
from glm_ocr_finetune.reading.loops import EVERY, MAX_PATTERN, MIN_COUNT, is_loop
from glm_ocr_finetune.vision.pixels import read_pixels


@pytest.mark.parametrize("length", [1, 2, 7, MAX_PATTERN])
def test_copies_are_counted_exactly(length: int) -> None:
    rng = random.Random(length)
    head, unit = [rng.randrange(900) for _ in range(50)], [1000 + i for i in range(length)]
    assert is_loop(head + unit * MIN_COUNT)
    assert not is_loop(head + (unit * MIN_COUNT)[1:])
    assert not is_loop([*head, *unit * MIN_COUNT, 5])


def test_a_longer_unit_and_a_text_are_none() -> None:
    assert not is_loop(list(range(MAX_PATTERN + 1)) * MIN_COUNT)
    assert not is_loop([])
    assert not is_loop(list(range(5000)))


@pytest.fixture(scope="module")
def looping() -> tuple[Any, PromptRenderer]:
    """A model that answers every image with one token for ever."""
    model, processor = load_model("tiny-random")
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[300] = 1.0
        model.model.language_model.norm.weight.fill_(1.0)
    for layer in model.model.language_model.layers:
        layer.register_forward_hook(lambda module, args, output: torch.ones_like(output))
    return model.eval(), PromptRenderer(processor)


def test_reading_ends_a_loop_soon_and_without_it_at_the_limit(looping: tuple[Any, PromptRenderer]) -> None:
    from drawing import draw_line

    model, renderer = looping
    image = open_upright(draw_line("a"))
    requests = [Request(lambda: read_pixels(image, renderer), "Read:", 10, 200 + 10 * i) for i in range(5)]
    plain = dict(generate_all(model, renderer, requests))
    ended = dict(generate_all(model, renderer, requests, stop_loops=True))
    assert [len(plain[i].token_ids) for i in range(5)] == [200, 210, 220, 230, 240]  # type: ignore[union-attr]
    for i in range(5):
        ids = ended[i].token_ids  # type: ignore[union-attr]
        assert MIN_COUNT <= len(ids) <= MIN_COUNT + EVERY
        assert set(ids) == {300}
        assert not ended[i].stopped  # type: ignore[union-attr]
