"""How much there is to compute, from the shapes alone: multiply-adds of matrix products, counted as two operations.

The same count as ``torch.utils.flop_counter`` gives on the real modules, but for attention, which is left out: it is
under 5 % at a thousand tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..inputs.geometry import PATCHES_PER_TOKEN

if TYPE_CHECKING:
    from transformers import GlmOcrConfig


@dataclass(frozen=True)
class Arithmetic:
    """Forward operations by unit.

    Attributes:
        vision: of tower and projector, for an image token.
        text: of the text layers, for a token.
        head: of the output head, for a position that it is applied to.
    """

    vision: float
    text: float
    head: float

    @classmethod
    def of(cls, config: GlmOcrConfig) -> Arithmetic:
        text, vision = config.text_config, config.vision_config
        attention = (2 * text.num_attention_heads + 2 * text.num_key_value_heads) * text.head_dim
        layer = text.hidden_size * (attention + 3 * text.intermediate_size)
        block = vision.hidden_size * (4 * vision.hidden_size + 3 * vision.intermediate_size)
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * vision.hidden_size
        out, merge = vision.out_hidden_size, vision.spatial_merge_size**2
        merger = out * (merge * vision.hidden_size + out + 3 * 3 * out)
        return cls(
            vision=2.0 * (PATCHES_PER_TOKEN * (vision.depth * block + patch) + merger),
            text=2.0 * text.num_hidden_layers * layer,
            head=2.0 * text.hidden_size * text.vocab_size,
        )
