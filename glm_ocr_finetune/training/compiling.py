"""Decoder layers compiled one by one, each for rows of any length.

Small batches wait for the processor to launch kernels; a compiled layer has fewer and longer ones. The whole model, as
transformers would compile it, is compiled anew for every size of image.
"""

from __future__ import annotations

import logging
from typing import Any

from ..argument_checks import NEEDS
from ..training_args import TrainingArguments
from .attention import variable_length_attention
from .processes import sharding_of

logger = logging.getLogger(__name__)


def compiled_layers(language_model: Any, args: TrainingArguments) -> CompiledLayers | None:
    """The layers compiled, where it was asked for and one compilation serves every batch."""
    if not args.torch_compile or not NEEDS["compiling"].met(args):
        return None
    sharding = sharding_of(args)
    if sharding or variable_length_attention(args.device) is None:
        lacks = (
            f"weights that are not shared out ({sharding})"
            if sharding
            else "torch 2.11 and an NVIDIA GPU from Ampere on"
        )
        logger.warning("--torch_compile has no effect here: it needs %s", lacks)
        return None
    return CompiledLayers(language_model)


class CompiledLayers:
    """The decoder layers of a language model with two ways to call each: compiled, and as it is.

    Args:
        language_model: with adapters, where there are any, already inside.
        backend: of ``torch.compile``.
    """

    def __init__(self, language_model: Any, backend: str = "inductor") -> None:
        self.layers = list(language_model.layers)
        for layer in self.layers:
            layer.compile(dynamic=True, backend=backend)
        self.calls = [layer._compiled_call_impl for layer in self.layers]

    def use(self, compiled: bool) -> None:
        """Have the layers called compiled from now on, or as they are: with keys and values, as in reading."""
        for layer, call in zip(self.layers, self.calls, strict=True):
            layer._compiled_call_impl = call if compiled else None
