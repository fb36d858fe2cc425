"""Is the memory that ``--plan`` counts what training takes? Ten configurations, part by part.

Each trains three steps on one batch. From the second on, with the states of the optimizer there, the peak of what is
allocated is taken at each moment that ``planning.memory`` knows, and what a forward pass leaves behind: activations,
and the copies that autocast makes of fp32 weights. On a CPU the parts are compared after one step, and no peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..memory import estimate, watch_parts
from ..watching import train_watched
from .cases import Case, Place, Result, training_arguments

STEPS = {"cuda": 3, "cpu": 1}
RANK = 8
ROOM = 0.95  # of the card: what is expected to take more is not tried
PEAK_RATIOS = (0.85, 1.15)  # plan to measured
PART_RATIOS = (0.85, 1.15)
PARTS = ("frozen", "trained", "gradients", "optimizer", "activations")
CONFIGURATIONS = {
    f"{name}, {kind}s{', checkpointing' if checkpointing else ''}": (kind, method, checkpointing)
    for name, method in (("full", {}), ("LoRA", {"use_lora": True}))
    for kind in ("line", "page")
    for checkpointing in (False, True)
} | {
    f"LoRA, 4-bit, {kind}s, checkpointing": (kind, {"use_lora": True, "load_in_4bit": True}, True)
    for kind in ("line", "page")
}


def measure(place: Place, kind: str, method: Mapping[str, object], checkpointing: bool) -> Result:
    """Train, and set what was there of each part beside what was expected."""
    from .tuning import without_bitsandbytes

    if "load_in_4bit" in method and (missing := without_bitsandbytes()):
        return missing
    plan = partial(expected, place, method, checkpointing)
    if too_large := refused(place, plan([largest(place, kind)])):
        return too_large
    found: list[dict[str, Any]] = []
    moments = Moments() if place.on_gpu else None

    def watch(trainer: Any) -> None:
        found.append(watch_parts(trainer, counted=0 if moments else None))
        if moments:
            moments.attach(trainer)

    given = {"max_steps": STEPS[place.device], "gradient_checkpointing": checkpointing, "cache_vision_features": "off"}
    train_watched(training_arguments(place, kind, **method, **given), watch)
    (parts,) = found
    memory = plan(parts["batches"])
    return with_peak(memory, parts, moments) if moments else parts_only(memory, parts, method)


def expected(place: Place, method: Mapping[str, object], checkpointing: bool, batches: list[Any]) -> Any:
    """What ``--plan`` counts for the largest of the batches."""
    from glm_ocr_finetune.planning.memory import Batch, Saving

    counted = estimate(place.model, RANK if "use_lora" in method else None, place.on_gpu)
    saving = Saving(load_in_4bit="load_in_4bit" in method, gradient_checkpointing=checkpointing)
    return counted.memory(Batch(*max(batches)), saving)


def largest(place: Place, kind: str) -> tuple[int, int, int]:
    """Tokens, image tokens and labels of the first batch of a kind, from its sizes; a token of text a syllable."""
    from .drawing import shapes

    samples = shapes(kind, place.batch_size(kind), place.device)
    images = sum(sample.height * sample.width // 784 for sample in samples)
    return sum(sample.length for sample in samples), images, sum(sample.label_tokens for sample in samples)


def refused(place: Place, memory: Any) -> Result | None:
    """Why a configuration is not tried: the card is too small for what is expected."""
    import torch

    if not place.on_gpu:
        return None
    total = torch.cuda.get_device_properties(0).total_memory
    if memory.peak <= ROOM * total:
        return None
    return Result(f"the plan says {memory.peak / 1e9:.1f} GB, the card has {total / 1e9:.1f}", passed=None)


class Moments:
    """The most bytes allocated at each moment of a step, less what was there before the model.

    Attributes:
        peaks: while images are encoded, in the rest of the forward pass, in the backward pass, in the optimizer.
        weights: when training begins.
        left_by_forward: what a forward pass leaves behind.
        context: on the card and not torch's: CUDA itself, and others' processes.
        reserved: the most that torch held of the card.
    """

    def __init__(self) -> None:
        import torch

        torch.cuda.init()  # type: ignore[no-untyped-call]
        self.base = torch.cuda.memory_allocated()
        self.peaks: dict[str, int] = {}
        self.weights = self.left_by_forward = self.context = self.reserved = 0
        self.steps = 0

    def attach(self, trainer: Any) -> None:
        """Look at every moment of the steps after the first."""
        trainer.training_step = self._around(trainer.training_step, "backward pass")
        trainer.compute_loss = self._around(trainer.compute_loss, "forward pass", forward=True)
        trainer.encoder.features = self._around(trainer.encoder.features, "images are encoded")
        trainer.add_callback(_look(self))

    def _around(self, work: Any, name: str, forward: bool = False) -> Any:
        import torch

        def looked(*args: Any, **kwargs: Any) -> Any:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            result = work(*args, **kwargs)
            self.note(name)
            if forward and self.steps:  # the last forward pass of a run has no gradients
                self.left_by_forward = max(self.left_by_forward, torch.cuda.memory_allocated() - before)
            return result

        return looked

    def note(self, name: str) -> None:
        """The peak since the last look, if the first step is over."""
        import torch

        peak = torch.cuda.max_memory_allocated() - self.base
        if self.steps:
            self.peaks[name] = max(peak, self.peaks.get(name, 0))
        torch.cuda.reset_peak_memory_stats()

    def end(self) -> None:
        """What the card holds beside torch."""
        import torch

        free, total = torch.cuda.mem_get_info()
        self.reserved = torch.cuda.memory_reserved()
        self.context = total - free - self.reserved


def _look(moments: Moments) -> Any:
    import torch
    from transformers import TrainerCallback

    class Look(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moments.weights = torch.cuda.memory_allocated() - moments.base

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            torch.cuda.reset_peak_memory_stats()

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moments.note("optimizer")

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moments.steps += 1

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            moments.end()

    return Look()


def with_peak(memory: Any, parts: dict[str, Any], moments: Moments) -> Result:
    """Expected beside measured: parts, moments, and the peak."""
    parts = parts | {"frozen": moments.weights - parts["trained"], "activations": moments.left_by_forward}
    peak, plan = max(moments.peaks.values()), memory.peak - memory.overhead
    low, high = PEAK_RATIOS
    return Result(
        f"peak {peak / 1e9:.2f} GB in the {max(moments.peaks, key=moments.peaks.__getitem__)}, "
        f"plan {plan / 1e9:.2f} ({plan / peak:.2f}); {side_by_side(expected_parts(memory), parts)}",
        f"plan / measured from {low} to {high}",
        low <= plan / peak <= high,
        {"plan": memory.by_part, "measured": parts, "peak": peak, "expected peak": plan}
        | {"moments": moments.peaks, "expected moments": expected_moments(memory)}
        | {"context": moments.context, "reserved": moments.reserved, "expected context": memory.overhead},
    )


def parts_only(memory: Any, parts: dict[str, Any], method: Mapping[str, object]) -> Result:
    """Expected beside measured, without a peak."""
    low, high = PART_RATIOS
    known = [part for part in PARTS if parts[part] and not (part == "frozen" and "load_in_4bit" in method)]
    ratios = {part: getattr(memory, part) / parts[part] for part in known}
    return Result(
        "plan / measured: " + ", ".join(f"{part} {ratio:.2f}" for part, ratio in ratios.items()),
        f"each from {low} to {high}",
        all(low <= ratio <= high for ratio in ratios.values()),
        {"plan": memory.by_part, "measured": parts},
    )


def expected_moments(memory: Any) -> dict[str, int]:
    """Bytes at each moment that the plan knows, without its allowance for CUDA."""
    always = sum(getattr(memory, name) for name in memory.ALWAYS if name != "overhead")
    return {moment: always + sum(getattr(memory, name) for name in names) for moment, names in memory.moments.items()}


def expected_parts(memory: Any) -> dict[str, int]:
    """What the plan says of each part; the copies of autocast among the activations, as they are measured."""
    return {part: getattr(memory, part) for part in PARTS} | {"activations": memory.activations + memory.copies}


def side_by_side(plan: Mapping[str, int], parts: Mapping[str, Any]) -> str:
    """Plan / measured GB of each part."""
    return ", ".join(f"{part} {value / 1e9:.2f}/{parts[part] / 1e9:.2f}" for part, value in plan.items())


CASES = {
    name: Case(partial(measure, kind=kind, method=method, checkpointing=checkpointing), limit_s=45)
    for name, (kind, method, checkpointing) in CONFIGURATIONS.items()
}
