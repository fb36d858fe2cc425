"""An export proven by reading: a fresh process, with transformers alone, must answer as the model before the export.

Rounding to bf16 may change a reading honestly, so two comparisons are kept apart. The fresh process is compared with
the model in memory *given the same rounded weights*: there any difference is a fault of the files. What rounding itself
changed is the difference between that model and the one before rounding, and is listed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..inputs.images import open_upright, read_size
from ..inputs.processor import PixelBudget
from ..inputs.prompt import PromptRenderer
from ..metrics import Reading, score
from ..reading.generate import generate
from . import fresh
from .proof_images import ProofImage
from .source import proof_device

LONGEST_ANSWER = 256  # tokens; a longer one is cut, in both readings


@dataclass(frozen=True)
class Answer:
    """What was read of one image.

    Attributes:
        prompt: token ids of the request, an image token for each 28 x 28 pixels.
        answer: token ids without the stop token.
        stopped: whether the model ended the answer itself.
    """

    prompt: list[int]
    answer: list[int]
    text: str
    stopped: bool


@dataclass(frozen=True)
class Changed:
    """A reading that is not the same before and after; ``truth`` where it is known."""

    name: str
    before: str
    after: str
    truth: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: how many readings are the same, those that are not, and how far they are apart.

    Attributes:
        cer: character error rate of the second, the first being the truth.
        cer_before, cer_after: against the transcriptions, where all are known.
    """

    equal: int
    images: int
    changed: list[Changed]
    cer: float | None
    cer_before: float | None
    cer_after: float | None

    def __str__(self) -> str:
        text = f"{self.equal} of {self.images} readings are the same"
        if self.cer_before is None or self.cer_after is None:
            return text
        return f"{text}; CER {self.cer_before:.4f} before, {self.cer_after:.4f} after"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def keep_images(images: Sequence[ProofImage], folder: Path) -> list[ProofImage]:
    """The images as PNG files, so that every reader gets the same pixels."""
    kept = []
    for number, one in enumerate(images):
        file = folder / f"{number}.png"
        open_upright(one.image).save(file)
        kept.append(replace(one, image=str(file)))
    return kept


def read_here(model: Any, renderer: PromptRenderer, images: Sequence[ProofImage]) -> list[Answer]:
    """Read with a model in memory, one image at a time."""
    budget = PixelBudget.of(renderer.processor)
    answers = []
    for one in images:
        done = generate(model, renderer, [one.image], [one.prompt], LONGEST_ANSWER)[0]
        prompt = renderer.prompt_ids(one.prompt, budget.num_image_tokens(*read_size(one.image)))
        answers.append(Answer(prompt, done.token_ids, done.text, done.stopped))
    return answers


def read_afresh(
    directory: Path, base: str | None, prompt_format: str, images: Sequence[ProofImage], stops: Sequence[int]
) -> list[Answer]:
    """Read with the exported files in a process of its own, by transformers alone.

    Args:
        base: of an exported adapter; None for a whole model.

    Raises:
        UserError: the process ended with an error; the last line of it is quoted.
    """
    order = {
        "model": base or str(directory),
        "adapter": str(directory) if base else None,
        "device": proof_device(),
        "prompt_format": prompt_format,
        "max_new_tokens": LONGEST_ANSWER,
        "images": [{"file": one.image, "prompt": one.prompt} for one in images],
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "order.json", Path(folder) / "answers.json"
        asked.write_text(json.dumps(order), encoding="utf-8")
        command = [sys.executable, str(Path(fresh.__file__).resolve()), str(asked), str(told)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            last = next(iter(reversed(done.stderr.strip().splitlines())), f"exit code {done.returncode}")
            raise UserError(f"transformers cannot read with {directory}: {last}")
        return [_answer(one, stops) for one in json.loads(told.read_text(encoding="utf-8"))]


def _answer(told: dict[str, Any], stops: Sequence[int]) -> Answer:
    ids = told["answer"]
    stopped = bool(ids) and ids[-1] in stops
    return Answer(told["prompt"], ids[:-1] if stopped else ids, told["text"], stopped)


def first_difference(images: Sequence[ProofImage], before: Sequence[Answer], after: Sequence[Answer]) -> str | None:
    """Where the readings part for the first time, in words; None when they are the same, token for token."""
    for one, expected, found in zip(images, before, after, strict=True):
        if told := _difference(expected, found):
            return f"{one.name}: {told}"
    return None


def _difference(expected: Answer, found: Answer) -> str | None:
    if expected.prompt != found.prompt:
        where = _first_unequal(expected.prompt, found.prompt)
        return (
            f"the request is {len(found.prompt)} tokens, and {len(expected.prompt)} before the export; "
            f"they part at token {where}"
        )
    if expected.answer != found.answer:
        where = _first_unequal(expected.answer, found.answer)
        return (
            f"answers part at token {where}: {_at(found.answer, where)} instead of {_at(expected.answer, where)}; "
            f"read {found.text!r}, before the export {expected.text!r}"
        )
    if expected.stopped != found.stopped:
        return f"the answer {'does not stop' if expected.stopped else 'stops'}, unlike before the export"
    return None


def _first_unequal(these: Sequence[int], those: Sequence[int]) -> int:
    return next(index for index, (one, other) in enumerate(zip_longest(these, those)) if one != other)


def _at(ids: Sequence[int], index: int) -> str:
    return str(ids[index]) if index < len(ids) else "the end"


def compare_readings(images: Sequence[ProofImage], before: Sequence[Answer], after: Sequence[Answer]) -> Comparison:
    """How far two models read alike."""
    pairs = list(zip(images, before, after, strict=True))
    changed = [Changed(one.name, old.text, new.text, one.truth) for one, old, new in pairs if old.answer != new.answer]
    known = all(one.truth is not None for one in images)
    return Comparison(
        equal=len(pairs) - len(changed),
        images=len(pairs),
        changed=changed,
        cer=_cer([old.text for old in before], after),
        cer_before=_cer([str(one.truth) for one in images], before) if known else None,
        cer_after=_cer([str(one.truth) for one in images], after) if known else None,
    )


def _cer(truths: Sequence[str], answers: Sequence[Answer]) -> float | None:
    readings = [
        Reading(id=str(index), truth=truth, prediction=answer.text)
        for index, (truth, answer) in enumerate(zip(truths, answers, strict=True))
    ]
    return score(readings).values["corpus_cer"] if readings else None
