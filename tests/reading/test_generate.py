"""Answers do not depend on what is read beside them, rows end where they should, and a bad image stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from drawing import WORDS, draw_line
from PIL import Image

from glm_ocr_finetune.inputs.images import ImageError
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.reading import generate as generating
from glm_ocr_finetune.reading.generate import Generated, Request, generate, generate_all, group, stop_token_ids
from glm_ocr_finetune.vision.pixels import read_pixels

PROMPT = "Text Recognition:"
Reader = tuple[Any, PromptRenderer]


@pytest.fixture(scope="module")
def reader() -> Reader:
    model, processor, prompt_format = load_for_reading("tiny", device_map="cpu")
    return model, PromptRenderer(processor, prompt_format)


@pytest.fixture
def stops(reader: Reader) -> Iterator[Any]:
    """The generation configuration, whose stop tokens a test may change."""
    config = reader[0].generation_config
    before = config.eos_token_id
    yield config
    config.eos_token_id = before


def lines() -> list[Image.Image]:
    """Lines of different widths and lengths of text."""
    return [draw_line(" ".join(WORDS[: 1 + i % 3]), (140 + 60 * (i % 4), 56)) for i in range(len(WORDS))]


def requests(images: Sequence[Any], renderer: PromptRenderer, limits: Sequence[int]) -> list[Request]:
    return [
        Request(partial(read_pixels, image, renderer), PROMPT, 20, most)
        for image, most in zip(images, limits, strict=True)
    ]


def read(reader: Reader, limits: Sequence[int], batch_size: int | None, penalty: float = 1.0) -> list[Any]:
    model, renderer = reader
    answers = dict(generate_all(model, renderer, requests(lines(), renderer, limits), batch_size, penalty))
    return [answers[i] for i in range(len(limits))]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_a_batch_reads_what_single_images_read(reader: Reader, penalty: float) -> None:
    model, renderer = reader
    limits = [40] * len(WORDS)
    alone = [generate(model, renderer, [image], [PROMPT], 40, penalty)[0] for image in lines()]
    assert len({len(one.token_ids) for one in alone}) > 3, "rows must leave the batch at different steps"
    for batch_size in (1, 2, 5, 11, None):
        assert read(reader, limits, batch_size, penalty) == alone


def test_a_repetition_penalty_changes_the_answer(reader: Reader) -> None:
    limits = [30] * len(WORDS)
    assert read(reader, limits, None, 5.0) != read(reader, limits, None)


def test_rows_that_are_done_leave_the_batch(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = reader[0], []
    original = model.generate

    def counting(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        return original(**inputs)

    monkeypatch.setattr(model, "generate", counting)
    together = read(reader, [2] * 6 + [4] * 3 + [30] * 3, None)
    assert sizes[0] == 12
    assert sizes[1] <= 6
    monkeypatch.setattr(generating, "FEWEST_TO_REGROUP", 1000)
    assert read(reader, [2] * 6 + [4] * 3 + [30] * 3, None) == together


def test_each_row_has_its_own_limit(reader: Reader) -> None:
    limits = [1 + i % 4 for i in range(len(WORDS))]
    full, cut = read(reader, [40] * len(WORDS), None), read(reader, limits, None)
    for whole, short, most in zip(full, cut, limits, strict=True):
        assert short.token_ids == whole.token_ids[:most]
        assert short.stopped == (len(whole.token_ids) < most)


def test_every_stop_token_stops(reader: Reader, stops: Any) -> None:
    answers = read(reader, [40] * len(WORDS), None)
    assert all(one.stopped and not set(one.token_ids) & set(stop_token_ids(reader[0])) for one in answers)
    extra = answers[0].token_ids[2]
    stops.eos_token_id = [*stops.eos_token_id, extra]
    for before, now in zip(answers, read(reader, [40] * len(WORDS), None), strict=True):
        end = before.token_ids.index(extra) if extra in before.token_ids else len(before.token_ids)
        assert now == Generated(now.text, before.token_ids[:end], True)


def test_an_unreadable_image_leaves_the_others_alone(reader: Reader) -> None:
    model, renderer = reader
    images: list[Any] = [lines()[0], b"not an image", lines()[1]]
    answers = dict(generate_all(model, renderer, requests(images, renderer, [40] * 3)))
    assert isinstance(answers[1], ImageError)
    assert [answers[0], answers[2]] == generate(model, renderer, [images[0], images[2]], [PROMPT] * 2, 40)
    with pytest.raises(ImageError, match="no image in a format that is read"):
        generate(model, renderer, images, [PROMPT] * 3, 40)


def test_batches_hold_like_lengths_within_their_tokens() -> None:
    sizes = [6000, 100, 90, 6100, 20_000, 80]
    some = [Request(lambda: pytest.fail("not due"), PROMPT, size, 10) for size in sizes]

    def rows(tokens: int, answer: int) -> int:
        assert answer == 10
        return min(64, 16_384 // tokens or 1)

    assert group(some, rows) == [[4], [3, 0], [1, 2, 5]]
    assert group(some, lambda tokens, answer: 4) == [[4, 3, 0, 1], [2, 5]]
    assert [len(batch) for batch in group([some[1]] * 130, rows)] == [64, 64, 2]
    assert group([], rows) == []


def test_a_batch_counts_its_longest_prompt_and_its_longest_answer() -> None:
    """An answer that may be long stands first; the long prompts behind it must not be counted as short."""
    shapes = [(10, 900), (800, 50), (700, 10), (20, 20)]
    some = [Request(lambda: pytest.fail("not due"), PROMPT, *shape) for shape in shapes]
    asked: list[tuple[int, int]] = []

    def rows(tokens: int, answer: int) -> int:
        asked.append((tokens, answer))
        return 2

    assert group(some, rows) == [[0, 1], [2, 3]]
    assert asked == [(800, 900), (800, 900), (700, 20)]


def test_a_batch_that_is_too_large_after_all_is_read_in_halves(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device says that its memory is full whenever more than two rows are read at once."""
    model, sizes = reader[0], []
    limits = [40] * len(WORDS)
    whole = read(reader, limits, None)
    original = model.generate

    def crowded(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return original(**inputs)

    monkeypatch.setattr(model, "generate", crowded)
    assert read(reader, limits, None) == whole
    assert max(sizes) == len(WORDS)

    def full(**inputs: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(model, "generate", full)
    with pytest.raises(torch.OutOfMemoryError):
        read(reader, limits, None)


def test_the_penalty_counts_the_prompt_but_not_the_padding() -> None:
    """As vLLM does: a positive score is divided, a negative one multiplied, once however often a token stands there."""
    ids = torch.tensor([[0, 0, 3, 4, 4], [1, 2, 3, 4, 0]])  # two rows with a prompt of four; the first is padded with 0
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    scores = torch.tensor([[2.0, 2.0, 2.0, 2.0, -2.0, 2.0]] * 2)
    found = generating._RepetitionPenalty(2.0, mask)(ids, scores)
    assert found.tolist() == [[2.0, 2.0, 2.0, 1.0, -4.0, 2.0], [1.0, 1.0, 1.0, 1.0, -4.0, 2.0]]
