"""Floating-point operations for each trained sample: the floor, plain TRL, LLaMA-Factory, and this project.

    python -m benchmarks.flops --config_dir DIR --output flops.json
    python -m benchmarks.flops --config_dir DIR --output flops.json --measure ours trl --kinds line

DIR holds the small files of the real model (see ``full_size.py``). A multiplication with its addition counts as two,
as in ``torch.utils.flop_counter``; attention counts whole, without its causal half taken off.

Samples are lines, regions and pages: a shape each, and around it a mixed set whose sizes vary by a factor of 0.4 to
1.6 (``--mixed`` samples, drawn from a seed), because batches of equal shapes have no padding. On the meta device,
without weights, at full depth:

- floor: the vision tower once a run, forward and backward of the language model on every sequence without padding,
  the head on the label positions.
- trl: the tower in every epoch, with LoRA on all linear layers also backwards through it; batches of four in the
  order of the rows, padded to the longest; TRL's own head, which on a machine without Triton scores every position
  and computes each logit twice. ``trl, Triton``: the same with label positions only, as on a GPU.
- llamafactory: the tower in every epoch; batches padded to a multiple of eight; the head on every position. Its full
  fine-tuning trains ``visual.downsample``, so that gradients go through the merger.

``--measure`` runs the real trainers in ``peers/`` on the mixed sets instead, on the CPU at full width, with one layer
of either kind and with two, and adds up the layers: every layer costs the same, so this is exact. It is how this
project is counted, and a check of what is said above of the peers. Arguments not listed go to this project's trainer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .full_size import build_config, write_checkpoint
from .peers.recording import Settings, flop_counter
from .peers.running import run_peer

PROMPT_TOKENS = 12  # what surrounds the image in front of the answer, with the prompt "Text Recognition:"
EPOCHS = (3, 10)
BATCH_SIZE = 4


@dataclass(frozen=True)
class Sample:
    """An image of height x width pixels, multiples of 28, and a label of so many tokens, the stop token included."""

    height: int
    width: int
    label_tokens: int

    @property
    def patches(self) -> tuple[int, int]:
        return self.height // 14, self.width // 14

    @property
    def length(self) -> int:
        return self.height * self.width // 784 + PROMPT_TOKENS + self.label_tokens


KINDS = {"line": Sample(56, 560, 20), "region": Sample(224, 840, 60), "page": Sample(840, 1176, 400)}


def mixed(kind: str, count: int, seed: int) -> list[Sample]:
    """Samples around a shape: lines of one height and many widths, regions and pages of many heights."""
    draw, shape = random.Random(seed), KINDS[kind]
    samples = []
    for _ in range(count):
        factor = draw.uniform(0.4, 1.6)
        height, width = (1.0, factor) if kind == "line" else (factor, 1.0)
        samples.append(
            Sample(
                round(height * shape.height / 28) * 28,
                round(width * shape.width / 28) * 28,
                round(factor * shape.label_tokens),
            )
        )
    return samples


def flops_of(work: Callable[[], Any]) -> int:
    """Operations of a call."""
    with flop_counter() as counter:
        work()
    return counter.get_total_flops()


class Counted:
    """A model on the meta device as one system trains it.

    Args:
        system: ``floor`` (this project's choice of what is trained), ``trl`` or ``llamafactory``.
        mode: ``lora`` or ``full``.
    """

    def __init__(self, config: Any, system: str, mode: str) -> None:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import GlmOcrForConditionalGeneration

        from glm_ocr_finetune.model.adapters import add_lora
        from glm_ocr_finetune.model.parts import PARTS, freeze

        self.system = system
        with torch.device("meta"):
            model = GlmOcrForConditionalGeneration._from_config(config, attn_implementation="eager")
            freeze(model, [part for part in PARTS if part != "language model"])
            if mode == "lora" and system == "trl":
                lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", lora_dropout=0.05)
                model = get_peft_model(model, lora).get_base_model()
            elif mode == "lora":
                model = add_lora(model, 8, 16, 0.0, "all").get_base_model()
            elif system == "llamafactory":
                model.model.visual.downsample.requires_grad_(True)
                model.model.visual.post_layernorm.requires_grad_(True)
        self.model = model.train()
        self.hidden_size = config.text_config.hidden_size
        self.vision = cache(self._vision)
        self.text = cache(self._text)
        self.head = cache(self._head)

    def _trains(self, module: Any) -> bool:
        return any(parameter.requires_grad for parameter in module.parameters())

    def _vision(self, patches: tuple[int, int]) -> int:
        """The vision tower and projector for one image, backwards too if something in there is trained."""
        import torch

        rows, columns = patches
        tower = self.model.model.visual
        pixels = torch.empty(rows * columns, 3 * 2 * 14 * 14, device="meta")
        positions = torch.zeros(rows * columns, 2, dtype=torch.long, device="meta")

        def work() -> None:
            features = tower(pixels, grid_thw=torch.tensor([[1, rows, columns]]), position_ids=positions).pooler_output
            if features.requires_grad:
                features.sum().backward()

        return flops_of(work)

    def _text(self, rows: int, length: int) -> int:
        """Forward and backward of the language model without its head, for ``rows`` sequences of ``length``."""
        import torch

        inner = self.model.model
        needs = self._trains(inner.visual) or self._trains(inner.get_input_embeddings())
        embedded = torch.empty(rows, length, self.hidden_size, device="meta", requires_grad=needs)
        positions = torch.zeros(3, rows, length, dtype=torch.long, device="meta")
        text = inner.language_model
        return flops_of(lambda: text(inputs_embeds=embedded, position_ids=positions).last_hidden_state.sum().backward())

    def _head(self, positions: int) -> int:
        """Forward and backward of the head for so many positions."""
        import torch

        hidden = torch.empty(positions, self.hidden_size, device="meta", requires_grad=True)
        weight = self.model.lm_head.weight

        def work() -> None:
            if self.system == "trl":
                with torch.no_grad():
                    hidden @ weight.T  # trl/kernels/chunked_logprob.py computes every logit again on the way back
            (hidden @ weight.T).sum().backward()

        return flops_of(work)


@dataclass(frozen=True)
class Cost:
    """Operations for each sample in the first epoch of a run, and in every later one."""

    first: float
    later: float

    def over(self, epochs: int) -> float:
        return (self.first + (epochs - 1) * self.later) / epochs


def floor(config: Any, mode: str, samples: list[Sample]) -> Cost:
    """What has to be computed: see the top of this file."""
    counted = Counted(config, "floor", mode)
    vision = sum(counted.vision(sample.patches) for sample in samples) / len(samples)
    text = sum(counted.text(1, sample.length) + counted.head(sample.label_tokens) for sample in samples) / len(samples)
    return Cost(vision + text, text)


def peer(counted: Counted, samples: list[Sample], only_labels: bool = False) -> Cost:
    """What a peer computes in every epoch: see the top of this file."""
    total = sum(counted.vision(sample.patches) for sample in samples)
    for start in range(0, len(samples), BATCH_SIZE):
        batch = samples[start : start + BATCH_SIZE]
        length = max(sample.length for sample in batch)
        if counted.system == "llamafactory":
            length = -(-length // 8) * 8
        scored = len(batch) * (length - 1 if counted.system == "trl" else length)
        if only_labels:
            scored = sum(sample.label_tokens for sample in batch)
        total += counted.text(len(batch), length) + counted.head(scored)
    return Cost(total / len(samples), total / len(samples))


def draw(samples: list[Sample], folder: Path) -> Path:
    """A data set of noise in these shapes, with a byte of label for each token but the stop token."""
    import numpy as np
    from PIL import Image

    generator, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for index, sample in enumerate(samples):
        name = f"{index:04d}.png"
        Image.fromarray(generator.integers(0, 256, (sample.height, sample.width), np.uint8)).save(folder / name)
        rows.append({"image": name, "text": "7" * (sample.label_tokens - 1)})
    manifest = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(manifest, encoding="utf-8")
    return folder


def run_trainer(args: argparse.Namespace, system: str, mode: str, model: Path, data: Path, count: int) -> list[int]:
    """Operations of each of two epochs of a real trainer."""
    python = args.llamafactory_python if system == "llamafactory" else sys.executable
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            data=data,
            model=str(model),
            mode=mode,
            record=Path(scratch) / "record.jsonl",
            scratch=Path(scratch) / "output",
            steps=count // BATCH_SIZE,
            epochs=2,
            batch_size=BATCH_SIZE,
            threads=args.threads,
            count_flops=True,
        )
        run_peer(system, python, settings, args.passed_on if system == "ours" else ())
        rows = [json.loads(line) for line in settings.record.read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["event"] == "step"]
    return [sum(step["flops"] for step in steps if step["epoch"] == epoch) for epoch in (1, 2)]


def measured(args: argparse.Namespace, system: str, mode: str, samples: list[Sample]) -> Cost:
    """What a real trainer computes, from runs with one and two layers of either kind."""
    config = build_config(args.config_dir, None, None)
    num_layers, depth = config.text_config.num_hidden_layers, config.vision_config.depth
    pieces = ["Text", " Recogni", "tion", ":"] * 2  # the prompt in four tokens, as in the real vocabulary
    runs = {}
    for shape in ((1, 1), (2, 1), (1, 2)):
        with tempfile.TemporaryDirectory() as scratch:
            model = write_checkpoint(args.config_dir, Path(scratch) / "model", *shape, texts=pieces, num_merges=64)
            data = draw(samples, Path(scratch) / "data")
            runs[shape] = run_trainer(args, system, mode, model, data, len(samples))
    first, later = (
        (
            runs[1, 1][epoch]
            + (num_layers - 1) * (runs[2, 1][epoch] - runs[1, 1][epoch])
            + (depth - 1) * (runs[1, 2][epoch] - runs[1, 1][epoch])
        )
        / len(samples)
        for epoch in (0, 1)
    )
    return Cost(first, later)


def show_parts(config: Any) -> None:
    """The parts of the floor for one sample of each shape, full fine-tuning, in GFLOP."""
    counted = Counted(config, "floor", "full")
    print("| shape | tokens | vision forward | text forward+backward | head, every position | head, label positions |")
    print("|---|--:|--:|--:|--:|--:|")
    for kind, sample in KINDS.items():
        parts = (
            counted.vision(sample.patches),
            counted.text(1, sample.length),
            counted.head(sample.length),
            counted.head(sample.label_tokens),
        )
        cells = " | ".join(f"{part / 1e9:.0f}" for part in parts)
        print(f"| {kind} {sample.height}x{sample.width} | {sample.length} | {cells} |")


def costs(args: argparse.Namespace, config: Any, mode: str, samples: list[Sample]) -> Iterator[tuple[str, Cost]]:
    """Every system with what it computes, the floor first."""
    yield "floor", floor(config, mode, samples)
    trl = Counted(config, "trl", mode)
    yield "trl", peer(trl, samples)
    yield "trl, Triton", peer(trl, samples, only_labels=True)
    yield "llamafactory", peer(Counted(config, "llamafactory", mode), samples)
    for system in args.measure:
        yield f"{system}, measured", measured(args, system, mode, samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config_dir", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--modes", nargs="+", choices=("lora", "full"), default=["lora", "full"])
    parser.add_argument("--mixed", type=int, default=16, help="samples of a mixed set, a multiple of 4")
    parser.add_argument(
        "--measure", nargs="+", choices=("ours", "trl", "llamafactory"), default=[], help="run these trainers"
    )
    parser.add_argument("--llamafactory_python", help="Python of the environment of setup_llamafactory.sh")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    args, others = parser.parse_known_args()
    args.passed_on = others
    if args.mixed % BATCH_SIZE:
        parser.error(f"--mixed {args.mixed} is no multiple of {BATCH_SIZE}")
    config = build_config(args.config_dir, None, None)
    show_parts(config)
    print("\nGFLOP for each sample of the mixed sets, and how many times the floor\n")
    print("| kind | mode | system | first epoch | later | over 3 epochs | over 10 |\n|---|---|---|--:|--:|--:|--:|")
    rows: list[dict[str, Any]] = []
    for kind, mode in itertools.product(args.kinds, args.modes):
        lowest: Cost | None = None
        for system, cost in costs(args, config, mode, mixed(kind, args.mixed, args.seed)):
            lowest = lowest or cost
            times = {epochs: cost.over(epochs) / lowest.over(epochs) for epochs in EPOCHS}
            totals = " | ".join(f"{cost.over(epochs) / 1e9:.0f} ({times[epochs]:.2f})" for epochs in EPOCHS)
            print(
                f"| {kind} | {mode} | {system} | {cost.first / 1e9:.0f} | {cost.later / 1e9:.0f} | {totals} |",
                flush=True,
            )
            rows.append(
                {"kind": kind, "mode": mode, "system": system, "first": cost.first, "later": cost.later}
                | {f"times_floor_{epochs}": times[epochs] for epochs in EPOCHS}
            )
            args.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
