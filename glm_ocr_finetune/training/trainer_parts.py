"""What the trainer is made with: its arguments without what TRL would do itself, and what happens beside its steps."""

from __future__ import annotations

import copy

from transformers import TrainerCallback

from ..training_args import TrainingArguments
from ..vision.encoder import VisionEncoder
from .callbacks import DrawLoss, ReleaseTower
from .processes import share_weights
from .stream_loader import CountPasses, StreamLoader


def without_trls_own(args: TrainingArguments, streams: bool = False) -> TrainingArguments:
    """A copy of the arguments in which TRL and transformers are not asked for what is done here.

    Args:
        streams: a stream goes on by itself where a checkpoint stands, and nothing is to be skipped.
    """
    args = copy.copy(args)
    args.padding_free = False  # TRL refuses its own with images
    args.torch_compile = False  # transformers would compile the whole model
    args.save_total_limit = None  # with 1 transformers would remove the checkpoint of an interrupted run
    args.ignore_data_skip = streams or args.ignore_data_skip
    return args


def callbacks_for(
    args: TrainingArguments, encoder: VisionEncoder, stream: StreamLoader | None = None
) -> list[TrainerCallback]:
    """What happens beside the steps of a run."""
    callbacks: list[TrainerCallback] = [DrawLoss()]
    if encoder.cache and args.world_size == 1 and not share_weights(args):
        callbacks.append(ReleaseTower(encoder))
    return [*callbacks, CountPasses(stream)] if stream else callbacks
