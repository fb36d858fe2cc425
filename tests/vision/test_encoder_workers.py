"""Features of a batch, wherever they come from: the batch itself, the memory of this process, or the tower."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from drawing import WORDS, draw_line

from glm_ocr_finetune import load_model
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.samples import format_for_vlm
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache
from glm_ocr_finetune.vision.encoder import VisionEncoder

SAMPLES = [
    format_for_vlm({"image": draw_line(word, (84 + 28 * i, 56)), "text": word}) for i, word in enumerate(WORDS[:4])
]


@pytest.fixture
def model() -> Any:
    return load_model("tiny-random")[0].model


def test_a_worker_s_batch_gets_its_features_from_the_process_that_trains(model: Any, processor: Any) -> None:
    cache = VisionCache("name", MemoryStore(1e8))
    encoder, here = VisionEncoder(cache), VLMDataCollator(PromptRenderer(processor), cache=cache)
    live = VisionEncoder().features(model, VLMDataCollator(PromptRenderer(processor))(SAMPLES))
    encoder.features(model, here([SAMPLES[0], SAMPLES[2]]))
    worker = pickle.loads(pickle.dumps(here))  # as spawn and forkserver start it
    batch = worker(SAMPLES)
    assert batch["is_cached"].tolist() == [True, False, True, False]
    encoder.live = 0
    for found, expected in zip(encoder.features(model, batch), live, strict=True):
        torch.testing.assert_close(found, expected)
    assert encoder.live == 2
    again = pickle.loads(pickle.dumps(here))
    found = encoder.features(model, again(SAMPLES))
    assert encoder.live == 2
    for one, expected in zip(found, live, strict=True):
        torch.testing.assert_close(one, expected)


def test_an_image_that_a_worker_of_long_ago_decodes_is_not_encoded_again(model: Any, processor: Any) -> None:
    """Persistent workers know what there was when they were started: nothing."""
    cache = VisionCache("name", MemoryStore(1e8))
    encoder, worker = (
        VisionEncoder(cache),
        pickle.loads(pickle.dumps(VLMDataCollator(PromptRenderer(processor), cache=cache))),
    )
    first = encoder.features(model, worker(SAMPLES[:3]))
    second = encoder.features(model, worker(SAMPLES))
    assert encoder.live == 4
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=False))


def test_a_blank_batch_is_encoded_once(model: Any, processor: Any) -> None:
    cache = VisionCache("name", MemoryStore(1e8))
    encoder, collator = VisionEncoder(cache), VLMDataCollator(PromptRenderer(processor), cache=cache)
    for _ in range(2):
        (features,) = encoder.features(model, collator.blank())
    assert (encoder.live, len(features)) == (1, 4)
