"""Pre-training of the tiny GLM-OCR, stage by stage; README.md has the commands and what they reached.

Every stage has a budget in minutes, saves every minute and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

sys.path.append(str(Path(__file__).resolve().parents[1]))

from batches import LineBatch, stream_batches
from draft import draft_loss, fresh_layer
from language import SequenceBuilder, answer_loss, read_lines
from optim import Optimizers, schedule
from render import TextStyle
from run import Run, join_processes
from vision import LetterHeads, encode, initialise, letter_losses, read_letters

from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.model.tiny import build_model, build_processor

LONGEST = 40  # characters in a line
REUSE = 3  # times that cached features are shown to the language model before new lines are rendered


def character_error_rate(read: list[str], texts: list[str]) -> float:
    """Edits over characters, of a corpus."""
    edits = sum(Levenshtein.distance(a, b) for a, b in zip(read, texts, strict=True))
    return edits / max(sum(map(len, texts)), 1)


def vision_style(progress: float) -> TextStyle:
    """Texts of the vision stage: half of them random, longer as time goes by."""
    return TextStyle(max_chars=12 if progress < 0.3 else 25, random_share=0.5, max_random_chars=12)


def train_vision(run: Run, patches: int) -> None:
    """Stage 1: the tower, ``downsample`` and ``merger`` learn letters through linear heads on the merged tokens."""
    torch.manual_seed(0)
    visual = build_model(seed=0).model.visual
    initialise(visual)
    heads = LetterHeads(visual.config.out_hidden_size)
    optimizers = Optimizers([({"visual": visual, "heads": heads}, 4e-3, 2e-3)])
    if state := run.resume():
        visual.load_state_dict(state["visual"])
        heads.load_state_dict(state["heads"])
        optimizers.load_state_dict(state["optimizers"])
    rng = random.Random(f"vision {run.rank} {run.step}")
    batches = stream_batches(rng, lambda: vision_style(run.elapsed_s() / (60 * run.minutes)), patches)
    while (progress := run.progress()) < 1:
        batch = next(batches)
        features = encode(visual, batch.images)
        losses = letter_losses(heads, features, batch.texts, batch.centres, batch.width)
        free = min(max((progress - 0.1) / 0.2, 0), 1)  # from known positions to free ones
        (losses["slots"] * (1 - 0.8 * free) + losses["ctc"] * 0.5 * free + 0.2 * losses["ordinal"]).backward()
        optimizers.step(schedule(run.step, progress))
        if run.step % 50 == 0:
            error = character_error_rate(read_letters(heads(features)[0].detach()), batch.texts)
            run.log(**{k: v.detach() for k, v in losses.items()}, train_cer=error, lines=len(batch.texts))
        run.step += 1
        run.save_if_due({"visual": visual, "heads": heads, "optimizers": optimizers})
    run.save({"visual": visual, "heads": heads, "optimizers": optimizers})


class Reader:
    """Stages 2 and 3: the language model, and in stage 3 the tower with it, learn to read lines aloud."""

    def __init__(self, run: Run, patches: int, whole: bool, checkpoint: str | None = None) -> None:
        self.run, self.patches, self.whole, self.checkpoint = run, patches, whole, checkpoint
        self.rng = random.Random(f"{run.stage} {run.rank} {run.step}")
        self.model = build_model(seed=0)
        self.heads = LetterHeads(self.model.config.text_config.hidden_size)
        processor = build_processor()
        self.renderers = {name: PromptRenderer(processor, name) for name in ("serve", "no_think")}
        self.sequences = SequenceBuilder(self.renderers, self.rng)
        self.max_chars, self.average_loss = 6, 5.0
        self.optimizers = self.make_optimizers()

    def make_optimizers(self) -> Optimizers:
        language: dict[str, nn.Module] = {"language": self.model.model.language_model, "lm_head": self.model.lm_head}
        if not self.whole:
            return Optimizers([(language, 4e-3, 2e-3)])
        if self.checkpoint:
            return Optimizers([(language | {"visual": self.model.model.visual}, 1.5e-3, 5e-4)])
        vision: dict[str, nn.Module] = {"visual": self.model.model.visual, "heads": self.heads}
        return Optimizers([(language, 3e-3, 1e-3), (vision, 1.5e-3, 5e-4)])

    def load(self) -> None:
        """Resume, or start from the stage before."""
        run = self.run
        if state := run.resume():
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            self.optimizers.load_state_dict(state["optimizers"])
            self.max_chars = int(state["max_chars"])
        elif self.checkpoint:
            self.model.load_state_dict(load_weights(self.checkpoint).state_dict())
            self.max_chars = LONGEST
        elif self.whole:
            state = run.state_of("language")
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            self.max_chars = max(int(state["max_chars"]), 20)
        else:
            state = run.state_of("vision")
            self.model.model.visual.load_state_dict(state["visual"])
            self.heads.load_state_dict(state["heads"])

    def style(self) -> TextStyle:
        return TextStyle(self.max_chars, random_share=0.35, max_random_chars=16)

    def batches(self) -> Iterator[tuple[LineBatch, Tensor | None]]:
        """Rendered lines; in stage 2 with their features, each group of them ``REUSE`` times."""
        stream = stream_batches(self.rng, self.style, self.patches)
        if self.whole:
            yield from ((batch, None) for batch in stream)
        while True:
            made = [next(stream) for _ in range(10)]
            with torch.no_grad():
                cached = [(batch, encode(self.model.model.visual, batch.images)) for batch in made]
            for _ in range(REUSE):
                self.rng.shuffle(cached)
                yield from cached

    def loss(self, batch: LineBatch, features: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch and what to log of it; the letter heads keep the tower honest in stage 3."""
        live = encode(self.model.model.visual, batch.images) if features is None else features
        sequences = self.sequences.build(batch.texts, live.shape[1])
        loss, accuracy = answer_loss(self.model, sequences, live)
        parts = {"loss": loss.detach(), "accuracy": accuracy}
        if features is None and not self.checkpoint:
            letters = letter_losses(self.heads, live, batch.texts, batch.centres, batch.width)
            parts["ctc"] = letters["ctc"].detach()
            loss = loss + 0.3 * letters["ctc"] + 0.05 * letters["ordinal"]
        return loss, parts

    def lengthen(self, loss: float) -> None:
        """Longer lines once those of the present length are mostly read."""
        self.average_loss = 0.95 * self.average_loss + 0.05 * loss
        if self.average_loss < 0.5 and self.max_chars < LONGEST:
            self.max_chars, self.average_loss = min(self.max_chars + 4, LONGEST), 1.0

    def report(self, batch: LineBatch, features: Tensor | None, parts: dict[str, Tensor]) -> None:
        with torch.no_grad():
            few = batch.images[:16]
            seen = encode(self.model.model.visual, few) if features is None else features[:16]
            read = read_lines(self.model, self.renderers["serve"], seen)
        error = character_error_rate(read, batch.texts[:16])
        self.run.log(**parts, train_cer=error, max_chars=self.max_chars, lines=len(batch.texts))

    def state(self) -> dict[str, object]:
        modules = {"model": self.model, "heads": self.heads, "optimizers": self.optimizers}
        return modules | {"max_chars": self.max_chars}

    def train(self) -> None:
        self.load()
        batches = self.batches()
        while (progress := self.run.progress()) < 1:
            batch, features = next(batches)
            loss, parts = self.loss(batch, features)
            loss.backward()
            self.optimizers.step(schedule(self.run.step, progress, decay=0.6 if self.whole else 0.3))
            self.lengthen(float(parts["loss"]))
            if self.run.step % 50 == 0:
                self.report(batch, features, parts)
            self.run.step += 1
            self.run.save_if_due(self.state())
        self.run.save(self.state())


def train_draft(run: Run, patches: int) -> None:
    """Stage 4: the multi-token-prediction layer on the frozen trunk, as it is rounded to bf16 in the checkpoint."""
    torch.manual_seed(0)
    reader = Reader(run, patches, whole=False)
    model = reader.model
    model.load_state_dict(run.state_of("joint")["model"])
    model.to(torch.bfloat16).float().requires_grad_(False)
    layer = fresh_layer(model.config)
    optimizers = Optimizers([({"layer": layer}, 4e-3, 2e-3)])
    if state := run.resume():
        layer.load_state_dict(state["layer"])
        optimizers.load_state_dict(state["optimizers"])
    reader.max_chars = LONGEST
    batches = reader.batches()
    while (progress := run.progress()) < 1:
        batch, features = next(batches)
        sequences = reader.sequences.build(batch.texts, features.shape[1])
        loss, accepted = draft_loss(model, layer, sequences, features)
        loss.backward()
        optimizers.step(schedule(run.step, progress))
        if run.step % 50 == 0:
            run.log(loss=loss.detach(), accepted=accepted)
        run.step += 1
        run.save_if_due({"layer": layer, "optimizers": optimizers})
    run.save({"layer": layer, "optimizers": optimizers})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("vision", "language", "joint", "draft"))
    parser.add_argument("--directory", type=Path, default=Path("runs/pretrain"))
    parser.add_argument("--minutes", type=float, required=True, help="time budget of the stage, over all sittings")
    parser.add_argument(
        "--checkpoint",
        help="checkpoint to start `joint` from, instead of the stage before: no letter heads, half the rates",
    )
    parser.add_argument("--patches", type=int, default=1500, help="14 px patches in a batch of one process")
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    run = Run(args.directory, args.stage, args.minutes, join_processes())
    if args.stage == "vision":
        train_vision(run, args.patches)
    elif args.stage == "draft":
        train_draft(run, args.patches)
    else:
        Reader(run, args.patches, args.stage == "joint", args.checkpoint).train()


if __name__ == "__main__":
    main()
