"""Suspect labels: transcriptions that the model contradicts with confidence.

A label is as good as its worst token: its score is the smallest probability that the model gives to any token of
the label, each with the label's true beginning before it. This is the ``min`` aggregation of token self-confidence of
Wang and Mueller, "Detecting Label Errors in Token Classification Data" (2022, arXiv:2210.03920). One wrong character
in a long line scores as low as a wrong line, which a mean over tokens would hide.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.collate import VLMDataCollator
from ..folders import SUSPECTS_FILE
from ..inputs.prompt import IGNORED, PromptRenderer
from ..metrics import Reading
from ..ranks import gather, my_share

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Suspect:
    """A sample and how much its label is to be trusted.

    Attributes:
        score: smallest probability of a token of the label, 0 to 1; the lower, the more suspect.
        doubted: the token of the label with that probability, as text (an end that comes too soon is ``<|user|>``).
        at: number of characters of the label before it.
    """

    id: str
    image: str | None
    text: str
    prediction: str
    source: str | None
    score: float
    doubted: str
    at: int


def find_suspects(
    model: Any, renderer: PromptRenderer, samples: Dataset, readings: Sequence[Reading], batch_size: int
) -> list[Suspect]:
    """All N samples, the most suspect label first; without those whose image cannot be read.

    Args:
        samples: N rows of :class:`~..data.splits.Splits`.
        readings: what the model read of them, in the same order.

    Returns:
        The same list on every rank; under torchrun each rank looks at a share.
    """
    collator = VLMDataCollator(renderer)
    read = [index for index, reading in enumerate(readings) if reading.stopped is not None]
    mine = my_share(read)
    found: list[Suspect] = []
    for start in range(0, len(mine), batch_size):
        chosen = mine[start : start + batch_size]
        doubts = worst_tokens(model, collator([samples[index] for index in chosen]))
        found += [_suspect(readings[index], *doubt, renderer) for index, doubt in zip(chosen, doubts, strict=True)]
    return sorted(gather(found), key=lambda suspect: (suspect.score, suspect.id))


def worst_tokens(model: Any, batch: Mapping[str, Any]) -> Iterable[tuple[float, list[int], int]]:
    """For each of B sequences: the smallest probability of a trained token, the trained ids, and that token's index.

    The head is applied to the trained positions only.
    """
    import torch

    inputs = {name: value.to(model.device) for name, value in batch.items()}
    labels = inputs.pop("labels")
    with torch.inference_mode():
        hidden = model.model(**inputs, use_cache=False).last_hidden_state
        for row, wanted in zip(hidden, labels, strict=True):
            positions = (wanted != IGNORED).nonzero().flatten()
            logits = model.lm_head(row[positions - 1]).float()
            chances = logits.softmax(-1).gather(-1, wanted[positions, None]).flatten()
            worst = int(chances.argmin())
            yield float(chances[worst]), wanted[positions].tolist(), worst


def _suspect(reading: Reading, score: float, tokens: list[int], worst: int, renderer: PromptRenderer) -> Suspect:
    decode = renderer.tokenizer.decode
    return Suspect(
        id=reading.id,
        image=reading.image,
        text=reading.truth,
        prediction=reading.prediction,
        source=reading.source,
        score=float(f"{score:.4g}"),
        doubted=decode([tokens[worst]]),
        at=len(decode(tokens[:worst])),
    )


def write_suspects(suspects: Iterable[Suspect], directory: Path) -> Path:
    """Write ``suspects.jsonl``, the most suspect first."""
    file = directory / SUSPECTS_FILE
    file.write_text("".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in suspects), encoding="utf-8")
    return file
