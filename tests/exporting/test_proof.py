"""A fresh process reads with the files as the model in memory does, and where it does not, the first place is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from drawing import draw_line
from faulty import SEEN_BY_READING

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.exporting.files import load_rounded, rounded_weights
from glm_ocr_finetune.exporting.inspection import Expected
from glm_ocr_finetune.exporting.proof import (
    Answer,
    compare_readings,
    first_difference,
    keep_images,
    read_afresh,
    read_here,
)
from glm_ocr_finetune.exporting.proof_images import ProofImage
from glm_ocr_finetune.exporting.source import Source
from glm_ocr_finetune.inputs.prompt import PromptRenderer

Proven = tuple[Path, list[ProofImage], list[Answer], list[int]]
IMAGE = ProofImage("a line", "0.png", "Text Recognition:", "ab")


@pytest.fixture(scope="module")
def proven(source: Source, written: tuple[Path, Expected], tmp_path_factory: pytest.TempPathFactory) -> Proven:
    """The export, two images (one above the pixel budget), what the model read of them, and the stop tokens."""
    folder, expected = written
    drawn = [
        ProofImage(text, draw_line(text, size), "Text Recognition:")
        for text, size in (("amber", (84, 28)), ("b", (280, 112)))
    ]
    images = keep_images(drawn, tmp_path_factory.mktemp("images"))
    model = source.load_model()
    load_rounded(model, rounded_weights(model))
    return folder, images, read_here(model, PromptRenderer(source.load_processor()), images), expected.stops


def test_a_fresh_process_reads_the_same(proven: Proven) -> None:
    folder, images, before, stops = proven
    after = read_afresh(folder, None, "serve", images, stops)
    assert first_difference(images, before, after) is None
    assert before == after
    assert all(one.answer for one in before)


@pytest.mark.slow  # a process for each
@pytest.mark.parametrize("plant", SEEN_BY_READING, ids=lambda plant: plant.__name__)
def test_reading_alone_tells_of_a_planted_fault(plant: Callable[[Path], None], proven: Proven, tmp_path: Path) -> None:
    folder, images, before, stops = proven
    shutil.copytree(folder, tmp_path / "export")
    plant(tmp_path / "export")
    assert first_difference(images, before, read_afresh(tmp_path / "export", None, "serve", images, stops))


@pytest.mark.slow
def test_files_that_cannot_be_read_are_an_error(proven: Proven, tmp_path: Path) -> None:
    _, images, _, stops = proven
    with pytest.raises(UserError, match=f"transformers cannot read with {tmp_path}: "):
        read_afresh(tmp_path, None, "serve", images, stops)


BEFORE = Answer([1, 2, 3], [7, 8], "ab", True)


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            replace(BEFORE, answer=[7, 9], text="ac"),
            "answers part at token 1: 9 instead of 8; read 'ac', before the export 'ab'",
        ),
        (replace(BEFORE, answer=[7], text="a"), "answers part at token 1: the end instead of 8"),
        (replace(BEFORE, answer=[7, 8, 8], text="abb"), "answers part at token 2: 8 instead of the end"),
        (replace(BEFORE, prompt=[1, 3]), "the request is 2 tokens, and 3 before the export; they part at token 1"),
        (replace(BEFORE, stopped=False), "the answer does not stop, unlike before the export"),
    ],
)
def test_the_first_difference_is_named(after: Answer, told: str) -> None:
    found = first_difference([IMAGE, IMAGE], [BEFORE, BEFORE], [BEFORE, after])
    assert found is not None
    assert found.startswith(f"a line: {told}")


def test_changed_readings_are_listed_with_their_error_rates() -> None:
    after = replace(BEFORE, answer=[7, 9], text="ac")
    images = [IMAGE, replace(IMAGE, name="another")]
    found = compare_readings(images, [BEFORE, BEFORE], [BEFORE, after])
    assert (found.equal, found.images) == (1, 2)
    assert [(one.name, one.before, one.after) for one in found.changed] == [("another", "ab", "ac")]
    assert (found.cer, found.cer_before, found.cer_after) == (0.25, 0.0, 0.25)
    assert str(found) == "1 of 2 readings are the same; CER 0.0000 before, 0.2500 after"


def test_without_transcriptions_there_is_no_error_rate() -> None:
    found = compare_readings([replace(IMAGE, truth=None)], [BEFORE], [BEFORE])
    assert str(found) == "1 of 1 readings are the same"
