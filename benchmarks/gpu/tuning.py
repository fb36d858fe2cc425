"""Does each way of training lower the loss: a few steps of the real workflow on one batch of lines, over and over."""

from __future__ import annotations

import math
from typing import Any

from ..watching import train_watched
from .cases import Case, Place, Result, training_arguments

STEPS = {"cuda": 12, "cpu": 6}
RATES = {"full": 1e-4, "lora": 2e-3}
FEATURES_DIFFER = 2e-2  # most that features of the tower, there and back, may differ


def falls(place: Place, mode: str, **given: object) -> Result:
    """Whether every loss is finite, and the last three are below the first three."""
    steps = STEPS[place.device]
    more: dict[str, object] = {"max_steps": steps, "learning_rate": RATES[mode], "use_lora": mode == "lora"}
    trainer = train_watched(training_arguments(place, "line", **more | given), lambda trainer: None)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    finite = len(losses) == steps and all(map(math.isfinite, losses))
    return Result(
        f"loss {losses[0]:.3f} -> {losses[-1]:.3f} in {steps} steps",
        "finite, falling",
        finite and sum(losses[-3:]) < sum(losses[:3]),
        {"losses": losses},
    )


def falls_in_4bit(place: Place) -> Result:
    """LoRA on a language model in 4 bits."""
    if missing := without_bitsandbytes():
        return missing
    return falls(place, "lora", load_in_4bit=True)


def falls_in_8bit(place: Place) -> Result:
    """Full fine-tuning with the states of the optimizer in 8 bits."""
    if missing := without_bitsandbytes():
        return missing
    return falls(place, "full", optim="adamw_8bit")


def without_bitsandbytes() -> Result | None:
    """What to say where it is not installed."""
    from .setup import version

    return None if version("bitsandbytes") else Result("bitsandbytes is not installed", passed=None)


def tower_leaves(place: Place) -> Result:
    """Whether the tower leaves the GPU when all images are cached, and computes the same features when it is back."""
    import torch

    from glm_ocr_finetune.vision.encoder import backbone_of

    given: dict[str, object] = {"use_lora": True, "num_train_epochs": 3, "cache_vision_features": "memory"}
    trainer = train_watched(training_arguments(place, "line", **given), lambda trainer: None)
    backbone = backbone_of(trainer.model)
    left = backbone.visual.device.type
    kept, live = features(trainer, backbone, cached=True), features(trainer, backbone, cached=False)
    error = ((live - kept).norm() / live.norm()).item()
    back = backbone.visual.device.type
    expected = "cpu" if torch.cuda.is_available() else place.device
    return Result(
        f"tower after training on {left}, then on {back}; features differ by {error:.1e}",
        f"on {expected}, then on {place.device}; at most {FEATURES_DIFFER:g}",
        left == expected and back == place.device and error <= FEATURES_DIFFER,
        {"features differ": error},
    )


def read_after_leaving(place: Place) -> Result:
    """Whether a run is judged by reading after every epoch, with the tower on the CPU or on its way back."""
    given: dict[str, object] = {"use_lora": True, "num_train_epochs": 3, "cache_vision_features": "memory"}
    given |= {"eval_split_size": 0.25, "eval_strategy": "epoch", "per_device_eval_batch_size": 4}
    trainer = train_watched(training_arguments(place, "line", **given), lambda trainer: None)
    rates = [row["eval_cer"] for row in trainer.state.log_history if "eval_cer" in row]
    return Result(f"read {len(rates)} times", "3 times", len(rates) == 3, {"eval_cer": rates})


def features(trainer: Any, backbone: Any, cached: bool) -> Any:
    """Image features of the first samples, (tokens, hidden), in fp32 on the CPU; from the cache, or from the tower."""
    import copy

    import torch

    collator = copy.copy(trainer.data_collator)
    collator.cache = collator.cache if cached else None
    device = trainer.args.device
    batch = {name: value.to(device) for name, value in collator([trainer.train_dataset[0]]).items()}
    if cached and not batch["is_cached"].all():
        raise ValueError("an image that was trained on is not in the cache")
    with torch.no_grad():
        return torch.cat(trainer.encoder.features(backbone, batch)).float().cpu()


CASES = {
    "full": Case(lambda place: falls(place, "full")),
    "LoRA": Case(lambda place: falls(place, "lora")),
    "LoRA, 4-bit": Case(falls_in_4bit),
    "full, 8-bit optimizer": Case(falls_in_8bit),
    "the tower leaves the GPU and comes back": Case(tower_leaves),
    "an evaluation after every epoch": Case(read_after_leaving),
}
