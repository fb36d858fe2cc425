"""How fast is a folder read, against its images one by one?

Both read by the same model, greedily, and each image has the same limit of tokens in both. Random weights hardly ever
end an answer, so limits do it: they differ by image, and rows leave their batch at different times.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from .cases import Case, Place, Result

ONE_BY_ONE = {"cuda": {"line": 10, "page": 3}, "cpu": {"line": 4, "page": 2}}
LIMITS = {"cuda": (24, 40, 56), "cpu": (8, 12, 16)}  # tokens of an answer, in turn
ROUNDS = {"cuda": 2, "cpu": 1}
WANTED = 4.0


def throughput(place: Place, kind: str) -> Result:
    """Images a second in a folder and one by one, in alternating rounds."""
    import time

    from glm_ocr_finetune.reading.generate import generate, generate_all

    from ..reading_speed import alternate

    model, renderer, images, requests = load(place, kind)
    few = range(ONE_BY_ONE[place.device][kind])

    def one_by_one() -> list[Any]:
        return [
            generate(model, renderer, [images[i]], [requests[i].prompt], requests[i].max_new_tokens)[0] for i in few
        ]

    def folder() -> list[Any]:
        answers = dict(generate_all(model, renderer, requests))
        return [answers[i] for i in few]

    equal = sum(one.token_ids == other.token_ids for one, other in zip(one_by_one(), folder(), strict=True))
    seconds = alternate(one_by_one, folder, ROUNDS[place.device], time.perf_counter)
    paces = [(len(few) / alone, len(requests) / together) for alone, together in seconds]
    ratios = sorted(together / alone for alone, together in paces)
    alone, together = paces[-1]
    return Result(
        f"folder of {len(requests)} {together:.1f} images/s, one by one {alone:.2f}: {ratios[0]:.1f} to {ratios[-1]:.1f} "
        f"times as fast; {equal} of {len(few)} answers equal",
        f"{WANTED:g} times" if place.on_gpu else "",
        ratios[0] >= WANTED or not place.on_gpu,
        {"images/s one by one and in a folder": paces, "equal answers": equal, "compared": len(few)},
    )


def load(place: Place, kind: str) -> tuple[Any, Any, list[Any], list[Any]]:
    """The model, its renderer, the images, and what is asked for each."""
    from glm_ocr_finetune.args import DataArguments
    from glm_ocr_finetune.data.splits import load_splits
    from glm_ocr_finetune.inputs.prompt import PromptRenderer
    from glm_ocr_finetune.model.loading import load_for_reading
    from glm_ocr_finetune.reading.samples import requests_of

    model, processor, prompt_format = load_for_reading(place.model)
    renderer = PromptRenderer(processor, prompt_format)
    splits = load_splits(DataArguments(dataset_name=str(place.data(kind))), renderer, None, seed=0, evaluate=False)
    limits = LIMITS[place.device]
    known = requests_of(splits.train, splits.train_tokens.tolist(), renderer, max(limits))
    requests = [replace(one, max_new_tokens=limits[i % len(limits)]) for i, one in enumerate(known)]
    return model, renderer, [sample["image"] for sample in splits.train], requests


CASES = {f"{kind}s": Case(partial(throughput, kind=kind), limit_s=40) for kind in ("line", "page")}
