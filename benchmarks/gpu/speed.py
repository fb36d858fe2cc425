"""How fast does it train beside plain TRL, and how much of the card is used?

Both train in one process, one after the other, and which begins changes from round to round: on the same rows, with
fp32 trained weights, autocast, gradient checkpointing on a GPU, and images read in the training process. Ours trains
two epochs, in the second of which every image comes from the cache, TRL one; ``benchmarks.training_speed`` says how
a run of three epochs is worked out of that. The share of the peak counts what has to be computed (``benchmarks.flops``,
without recomputation), against the fastest product of two large matrices on this card.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..peers import ours, trl_plain
from ..peers.recording import Settings
from ..peers.running import run_peer
from ..training_speed import Run, read_record
from .cases import Case, Place, Result

ROUNDS = 2
STEPS = {"cuda": 5, "cpu": 2}
EPOCHS = 3
SIDES = {"cuda": 8192, "cpu": 768}  # of the matrices
PRODUCTS = 10


def matrix_product(place: Place) -> Result:
    """Operations a second of a product of two random matrices, in half precision on a GPU."""
    peak, side = peak_flops(place), SIDES[place.device]
    return Result(f"{peak / 1e12:.3g} TFLOP/s at {side} x {side} x {side}", facts={"flop/s": peak})


@cache
def peak_flops(place: Place) -> float:
    """The median of some products."""
    import torch

    side, dtype = SIDES[place.device], torch.bfloat16 if place.on_gpu else torch.float32
    left, right = (torch.randn(side, side, device=place.device, dtype=dtype) for _ in range(2))
    product = partial(torch.matmul, left, right)
    for _ in range(3):
        product()
    return 2 * side**3 / statistics.median(seconds(product, place) for _ in range(PRODUCTS))


def seconds(work: Callable[[], Any], place: Place) -> float:
    """Of the wall clock, until the device is done."""
    import torch

    started = time.perf_counter()
    work()
    if place.on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def race(place: Place, kind: str, mode: str, round_: int) -> Result:
    """Both systems on the same rows."""
    if not place.on_gpu and (kind, round_) != ("line", 1):
        return Result("one round of lines is enough on a CPU", passed=None)
    order = ("ours", "trl") if round_ % 2 else ("trl", "ours")
    runs = {system: run(place, system, kind, mode, round_) for system in order}
    mine, theirs = runs["ours"], runs["trl"]
    ratio = theirs.run_s(EPOCHS) / mine.run_s(EPOCHS)
    shown = "; ".join(pace(place, runs[system], kind) for system in ("ours", "trl"))
    return Result(f"{shown}; ours {ratio:.2f} times as fast", facts={"times as fast": ratio} | facts(runs))


def run(place: Place, system: str, kind: str, mode: str, round_: int, *flags: str) -> Run:
    """One system, from loading its model to the end of its last step; ``flags`` are for ours."""
    settings = settings_of(place, system, kind, mode)
    if system == "ours":
        given = ["--max_length", "8192", "--dataloader_num_workers", "0", "--disable_tqdm", "True"]
        ours.train(settings, [*given, *flags])
    else:
        trl_plain.train(settings)
    return read_record(settings.record, system, mode, round_)


def compiled(place: Place, kind: str, mode: str) -> Result:
    """Ours with compiled layers and without, in later epochs; the first has the compilation in it."""
    if not place.on_gpu:
        return Result("--torch_compile needs a GPU", passed=None)
    plain, fast = (run(place, "ours", kind, mode, 1, "--torch_compile", flag) for flag in ("False", "True"))
    rates = [one.samples / one.later_epoch_s for one in (plain, fast)]
    return Result(
        f"{rates[1]:.1f} and {rates[0]:.1f} samples/s, {rates[1] / rates[0]:.2f} times as fast",
        facts={"times as fast": rates[1] / rates[0]} | facts({"plain": plain, "compiled": fast}),
    )


def settings_of(place: Place, system: str, kind: str, mode: str) -> Settings:
    """What a runner is told."""
    return Settings(
        data=place.data(kind),
        model=resolved(place),
        mode=mode,
        record=place.folder / f"{system}.jsonl",
        scratch=place.output(),
        steps=STEPS[place.device],
        epochs=2 if system == "ours" else 1,
        batch_size=place.batch_size(kind),
        device=place.device,
    )


def resolved(place: Place) -> str:
    """The checkpoint directory, for those who do not know the name ``tiny``."""
    from glm_ocr_finetune.model.loading import resolve_model_path

    return resolve_model_path(place.model)


def pace(place: Place, run: Run, kind: str) -> str:
    """Samples and tokens a second, and the share of the peak."""
    samples = run.samples_per_s(EPOCHS)
    return f"{run.system} {samples:.2f} samples/s, {samples * tokens_of(run):.0f} tokens/s, {share(place, run, kind):.0%} of the peak"


def tokens_of(run: Run) -> float:
    """Tokens of a sample."""
    first = [step for step in run.steps if step["epoch"] == 1]
    return sum(step["tokens"] for step in first) / sum(step["samples"] for step in first)


def share(place: Place, run: Run, kind: str) -> float:
    """What has to be computed a second, over the peak: of ours with the tower in the first epoch only."""
    first, later = needed_for_token(place, kind, run.mode)
    flops = (first + (EPOCHS - 1) * later) / EPOCHS if run.system == "ours" else first
    return flops * run.samples_per_s(EPOCHS) * tokens_of(run) / peak_flops(place)


@cache
def needed_for_token(place: Place, kind: str, mode: str) -> tuple[float, float]:
    """Operations for a token of a sample of middle size, in the first epoch and in later ones."""
    from glm_ocr_finetune.model.loading import load_config

    from ..flops import KINDS, floor
    from .drawing import shapes

    sample = KINDS[kind] if place.on_gpu else shapes(kind, 1, place.device)[0]
    cost = floor(load_config(resolved(place)), mode, [sample])
    return cost.first / sample.length, cost.later / sample.length


def facts(runs: dict[str, Run]) -> dict[str, Any]:
    """Everything but the single steps."""
    return {
        system: {name: value for name, value in asdict(run).items() if name != "steps"} for system, run in runs.items()
    }


def llamafactory(place: Place) -> Result:
    """LLaMA-Factory on lines with LoRA, in a process of its own; ours on the same rows stands above."""
    if not place.llamafactory:
        return Result("no --llamafactory with its packages", passed=None)
    settings, there = settings_of(place, "llamafactory", "line", "lora"), Path(place.llamafactory)
    own = there / "bin" / "python"
    if own.exists():
        run_peer("llamafactory", str(own), settings)
    else:
        run_peer("llamafactory", sys.executable, settings, packages=str(there.absolute()))
    found = read_record(settings.record, "llamafactory", "lora", 1)
    return Result(pace(place, found, "line"), facts=facts({"llamafactory": found}))


CASES = {
    "product of large matrices": Case(matrix_product),
    **{
        f"{kind}s, {name}, round {round_}": Case(partial(race, kind=kind, mode=mode, round_=round_), limit_s=60)
        for round_ in range(1, ROUNDS + 1)
        for kind in ("line", "page")
        for mode, name in (("lora", "LoRA"), ("full", "full"))
    },
    **{
        f"{kind}s, {name}, compiled layers": Case(partial(compiled, kind=kind, mode=mode), limit_s=120)
        for kind, mode, name in (("line", "lora", "LoRA"), ("line", "full", "full"), ("page", "lora", "LoRA"))
    },
    "lines, LoRA, LLaMA-Factory": Case(llamafactory, limit_s=90),
}
