"""Reads held-out lines with the package's own generator: character error rate and stop rate, seen and unseen fonts.

The texts are of the part that training never saw (``render.is_held_out``); the images pass through the processor.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from rapidfuzz.distance import Levenshtein

sys.path.append(str(Path(__file__).resolve().parents[1]))

from render import SEEN_FONTS, UNSEEN_FONTS, Line, TextStyle, render_line, sample_text

from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.reading.generate import Generated, Request, generate_all
from glm_ocr_finetune.vision.pixels import read_pixels

BINS = (10, 25, 40)


def held_out_lines(count: int, fonts: dict[str, tuple[str, ...]], max_chars: int, seed: int) -> list[Line]:
    """Lines whose texts training never saw, as rendered, before any resizing."""
    rng = random.Random(f"held out {seed}")
    style = TextStyle(max_chars, random_share=0.35, max_random_chars=16)
    return [render_line(rng, sample_text(rng, style, held_out=True), fonts) for _ in range(count)]


def summarise(lines: list[Line], answers: list[Generated]) -> dict[str, object]:
    """Corpus CER in all and by length, exact lines and stop rate."""
    edits, characters = defaultdict(int), defaultdict(int)
    for line, answer in zip(lines, answers, strict=True):
        length = next(b for b in BINS if len(line.text) <= b)
        for key in ("cer", f"cer up to {length}"):
            edits[key] += Levenshtein.distance(answer.text, line.text)
            characters[key] += len(line.text)
    rates = {key: round(edits[key] / characters[key], 4) for key in sorted(edits)}
    exact = sum(a.text == line.text for a, line in zip(answers, lines, strict=True)) / len(lines)
    return rates | {"exact": exact, "stop_rate": sum(a.stopped for a in answers) / len(lines), "lines": len(lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="checkpoint directory, or tiny")
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--max_chars", type=int, default=25)
    parser.add_argument("--prompt_format", default="serve", choices=("serve", "no_think"))
    parser.add_argument("--prompt", default="Text Recognition:")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=5, help="readings to print")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, processor, _ = load_for_reading(args.model)
    renderer = PromptRenderer(processor, args.prompt_format)
    for name, fonts in (("seen fonts", SEEN_FONTS), ("unseen fonts", UNSEEN_FONTS)):
        lines = held_out_lines(args.lines, fonts, args.max_chars, args.seed)
        images = [Image.fromarray(line.image) for line in lines]
        requests = [Request(partial(read_pixels, one, renderer), args.prompt, one.width, 64) for one in images]
        answers = dict(generate_all(model, renderer, requests, 50))
        in_order = [answers[i] for i in range(len(lines))]
        print(name, json.dumps(summarise(lines, in_order)))
        for line, answer in list(zip(lines, in_order, strict=True))[: args.show]:
            print(f"  {line.text!r} -> {answer.text!r}")


if __name__ == "__main__":
    main()
