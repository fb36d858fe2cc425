"""Whether the image features of a run are cached, where, and why; said in one line."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING, Any

import psutil

from ..errors import UserError
from ..model.arithmetic import Arithmetic
from ..vision.cache import GIGABYTE, SHARE_OF_FREE, DiskStore, MemoryStore, VisionCache, cache_home, fingerprint
from ..vision.encoder import backbone_of

if TYPE_CHECKING:
    from transformers import Glm46VProcessor

    from ..args import ModelArguments
    from ..data.splits import Splits
    from ..training_args import TrainingArguments

logger = logging.getLogger(__name__)


def refuse_contradiction(model_args: ModelArguments, training_args: TrainingArguments) -> None:
    """Raise UserError for a cache of features that change while they are cached."""
    mode = training_args.cache_vision_features
    if mode in ("memory", "disk") and not (model_args.freeze_vision_tower and model_args.freeze_multi_modal_projector):
        raise UserError(
            f"--cache_vision_features {mode} needs features that stay the same, but the vision tower or the projector "
            "is trained; use --cache_vision_features auto or off, or freeze both parts "
            "(--freeze_vision_tower True --freeze_multi_modal_projector True)"
        )


def choose_cache(
    model: Any, processor: Glm46VProcessor, splits: Splits, training_args: TrainingArguments
) -> VisionCache | None:
    """The cache that ``--cache_vision_features`` asks for; ``auto`` decides by what it holds and saves."""
    visual = backbone_of(model).visual
    mode, why = decide(model.config, visual, splits, training_args)
    logger.info("image features: %s (%s)", "not cached" if mode == "off" else f"cached in {mode}", why)
    if mode == "off":
        return None
    name = fingerprint(visual, processor)
    limit = capacity(mode, training_args)
    if mode == "memory":
        return VisionCache(name, MemoryStore(limit))
    try:
        return VisionCache(name, DiskStore(cache_home() / name, limit))
    except OSError as error:
        logger.warning(
            "image features are not cached, and encoded every epoch: %s cannot be written (%s)", cache_home(), error
        )
        return None


def decide(config: Any, visual: Any, splits: Splits, training_args: TrainingArguments) -> tuple[str, str]:
    """``off``, ``memory`` or ``disk``, and the reason."""
    mode = training_args.cache_vision_features
    if mode == "off":
        return "off", "as asked"
    if any(parameter.requires_grad for parameter in visual.parameters()):
        return "off", "the vision tower or the projector is trained, so features change at every step"
    if splits.stream:
        never = (
            "how many images a stream has, and how often each comes, is not known: disk keeps what there is room for"
        )
        return ("off", never) if mode == "auto" else (mode, "as asked, as far as there is room")
    size = feature_bytes(config, visual, splits)
    passes = times_seen(len(splits.train), training_args)
    told = f"{size / GIGABYTE:.2g} GB for {len(splits.train)} images seen {passes:.3g} times, {gain(config, passes)}"
    if mode != "auto":
        return mode, f"as asked: {told}"
    if passes <= 1:
        return "off", f"no image is trained on twice: {told}"
    ranks = training_args.world_size
    if ranks == 1 and size <= capacity("memory", training_args):
        return "memory", told
    if size <= capacity("disk", training_args):
        return "disk", f"{'ranks share it' if ranks > 1 else 'too large for the free memory'}: {told}"
    return "off", f"no room: {told}; --vision_cache_gb with --cache_vision_features disk keeps a part"


def feature_bytes(config: Any, visual: Any, splits: Splits) -> int:
    """Bytes of the features of all images that are trained or evaluated on."""
    tokens = int(splits.train_image_tokens.sum()) + int(splits.evaluation_image_tokens.sum())
    return tokens * config.vision_config.out_hidden_size * next(visual.parameters()).element_size()


def times_seen(num_samples: int, training_args: TrainingArguments) -> float:
    """How often an image is trained on."""
    if training_args.max_steps <= 0:
        return float(training_args.num_train_epochs)
    batch = training_args.per_device_train_batch_size * training_args.gradient_accumulation_steps
    return training_args.max_steps * batch * training_args.world_size / num_samples


def gain(config: Any, passes: float) -> str:
    """What is saved, for the log: image tokens are most of a sequence, and text trains at three times its forward."""
    work = Arithmetic.of(config)
    saved = work.vision * max(passes - 1, 0) / passes
    return f"saves about {saved / (work.vision + 3 * work.text):.0%} of the arithmetic"


def capacity(mode: str, training_args: TrainingArguments) -> float:
    """Most bytes that a cache may take."""
    if training_args.vision_cache_gb is not None:
        return training_args.vision_cache_gb * GIGABYTE
    if mode == "memory":
        return SHARE_OF_FREE * psutil.virtual_memory().available / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    home = cache_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        return SHARE_OF_FREE * shutil.disk_usage(home).free
    except OSError:  # a file in the way, or a disk that is read only
        return 0.0
