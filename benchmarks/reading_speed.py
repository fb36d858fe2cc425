"""How fast are images read: in a folder against one after another, and in an evaluation against bare `generate`?

    python -m benchmarks.reading_speed --dataset_name glm_ocr_finetune/assets/demo

prints two ratios, each the median of alternating rounds with the smallest and the largest:

(a) one image after another, against all of them as `infer` reads a folder: how many times faster the folder is;
(b) reading for an evaluation (images opened, batches formed, answers decoded and scored), against `model.generate` on
    the same samples in batches of the same size and order, with the tensors made beforehand: how many times dearer.

Times are of the wall clock; --clock cpu counts the time of the process instead, which other work on the machine
disturbs less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.data.stack import stack_inputs
from glm_ocr_finetune.inputs.processor import set_pixel_budget
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.metrics import ScoringSettings, score
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.reading.generate import Request, generate, generate_all, group
from glm_ocr_finetune.reading.room import rows_for
from glm_ocr_finetune.reading.samples import read_samples, requests_of
from glm_ocr_finetune.vision.pixels import read_pixels

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def alternate(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int, clock: Callable[[], float]
) -> list[tuple[float, float]]:
    """Seconds of both in each of the rounds; which of them starts alternates."""
    seconds = []
    for turn in range(rounds):
        order = (first, second) if turn % 2 == 0 else (second, first)
        taken = {work: timed(work, clock) for work in order}
        seconds.append((taken[first], taken[second]))
    return seconds


def timed(work: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def show(name: str, seconds: Sequence[tuple[float, float]], target: str) -> None:
    """The ratio of the first to the second, with its spread."""
    ratios = sorted(one / other for one, other in seconds)
    firsts, seconds_ = (statistics.median(column) for column in zip(*seconds, strict=True))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} rounds"
    print(f"{name}: {firsts:.2f} s / {seconds_:.2f} s = {statistics.median(ratios):.2f} ({spread}; target {target})")


def batches_of_tensors(
    model: Any, samples: Any, requests: Sequence[Request], renderer: PromptRenderer, batch_size: int | None
) -> list[tuple[dict[str, Any], int]]:
    """What `model.generate` takes for each batch, and the longest answer in it."""
    batches = []
    for chosen in group(requests, rows_for(model, batch_size)):
        pixels = [requests[i].pixels() for i in chosen]
        prompts = [samples[i]["prompt"] for i in chosen]
        sequences = [renderer.prompt_ids(*pair) for pair in zip(prompts, (p.num_tokens for p in pixels), strict=True)]
        inputs = stack_inputs(sequences, pixels, renderer, "left")
        batches.append((inputs, max(requests[i].max_new_tokens for i in chosen)))
    return batches


def bare_generate(model: Any, batches: Sequence[tuple[dict[str, Any], int]]) -> None:
    with torch.inference_mode():
        for inputs, most in batches:
            inputs = {name: value.to(model.device) for name, value in inputs.items()}
            model.generate(**inputs, max_new_tokens=most, do_sample=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dataset_name", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--max_pixels", type=int)
    parser.add_argument("--max_new_tokens", type=int, default=256, help="longest answer in (a)")
    parser.add_argument("--batch_size", type=int, help="default: as infer and evaluate choose")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    args = parser.parse_args()
    clock = CLOCKS[args.clock]
    model, processor, prompt_format = load_for_reading(args.model)
    set_pixel_budget(processor, None, args.max_pixels)
    renderer = PromptRenderer(processor, prompt_format)
    data_args = DataArguments(dataset_name=args.dataset_name, train_split=args.split, max_samples=args.samples)
    splits = load_splits(data_args, renderer, None, 0, evaluate=False)
    samples, lengths = splits.train, splits.train_tokens.tolist()

    images = [sample["image"] for sample in samples]
    prompts = [sample["prompt"] for sample in samples]
    known = requests_of(samples, lengths, renderer, args.max_new_tokens)
    folder = [
        Request(partial(read_pixels, image, renderer), prompt, one.num_tokens, args.max_new_tokens)
        for image, prompt, one in zip(images, prompts, known, strict=True)
    ]

    def one_by_one() -> list[Any]:
        pairs = zip(images, prompts, strict=True)
        return [generate(model, renderer, [image], [prompt], args.max_new_tokens)[0] for image, prompt in pairs]

    def together() -> list[Any]:
        answers = dict(generate_all(model, renderer, folder, args.batch_size))
        return [answers[i] for i in range(len(folder))]

    equal = sum(one == other for one, other in zip(one_by_one(), together(), strict=True))  # warms both up, too
    print(f"{equal} of {len(images)} answers are equal in both")
    show("(a) one after another / folder", alternate(one_by_one, together, args.rounds, clock), "4 or more")

    batches = batches_of_tensors(
        model, samples, requests_of(samples, lengths, renderer, None), renderer, args.batch_size
    )

    def evaluation() -> None:
        score(read_samples(model, renderer, samples, lengths, args.batch_size, progress=False), ScoringSettings())

    bare = partial(bare_generate, model, batches)
    show("(b) evaluation / bare generate", alternate(evaluation, bare, args.rounds, clock), "1.3 or less")


if __name__ == "__main__":
    main()
