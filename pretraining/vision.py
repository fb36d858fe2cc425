"""The vision tower read in batches of one width, and the heads that teach it letters before any language model.

A line is 56 px high: 4 rows of patches, 2 rows of image tokens. Columns are 28 px wide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrVisionModel, apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_position_ids

SLOTS = 4  # time steps in a 28 px column: one each 7 px
MAX_ORDINAL = 64
ALPHABET = tuple(chr(code) for code in range(32, 127))  # classes 1 to 95; class 0 is the blank
CLASS_OF = {letter: index + 1 for index, letter in enumerate(ALPHABET)}


def to_patches(images: Tensor) -> Tensor:
    """Grey images (batch, 56, width) uint8 -> patches (batch, patches, 196) in 0..1, in the processor's order.

    The order is rows of 2 x 2 merge groups, then the group's four patches.
    """
    batch, height, width = images.shape
    groups = images.view(batch, height // 28, 2, 14, width // 28, 2, 14).permute(0, 1, 4, 2, 5, 3, 6)
    return groups.reshape(batch, -1, 196).float() / 255


def embed_patches(visual: GlmOcrVisionModel, patches: Tensor) -> Tensor:
    """The patch embedding of grey patches, (batch, patches, 196) -> (batch, patches, hidden).

    Three equal channels and two equal frames make the convolution a linear layer on one grey patch.
    """
    conv = visual.patch_embed.proj
    mean, std = torch.tensor(OPENAI_CLIP_MEAN), torch.tensor(OPENAI_CLIP_STD)
    by_channel = conv.weight.sum(2).flatten(2)  # (hidden, 3, 196)
    weight = (by_channel / std[:, None]).sum(1)
    bias = conv.bias - (by_channel.sum(2) * mean / std).sum(1)
    return F.linear(patches, weight, bias)


def encode(visual: GlmOcrVisionModel, images: Tensor) -> Tensor:
    """What ``visual`` computes, for grey images (batch, 56, width) of one width, without its loop over images.

    Returns merged features (batch, 2 * width / 28, out_hidden), row by row.
    """
    batch, height, width = images.shape
    grid = torch.tensor([[1, height // 14, width // 14]])
    hidden = embed_patches(visual, to_patches(images))
    cos, sin = visual.rotary_pos_emb(hidden, get_vision_position_ids(grid, visual.spatial_merge_size))
    for block in visual.blocks:
        hidden = hidden + attend(block.attn, block.norm1(hidden), cos, sin)
        hidden = hidden + block.mlp(block.norm2(hidden))
    hidden = visual.post_layernorm(hidden)
    groups = hidden.view(-1, 2, 2, hidden.shape[-1]).permute(0, 3, 1, 2)
    weight = visual.downsample.weight
    merged = F.linear(groups.flatten(1), weight.flatten(1), visual.downsample.bias)
    return visual.merger(merged).view(batch, -1, merged.shape[-1])


def attend(attention: nn.Module, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Self-attention within each image, (batch, patches, hidden) -> the same."""
    batch, length, _ = hidden.shape
    qkv = attention.qkv(hidden).view(batch, length, 3, attention.num_heads, attention.head_dim)
    query, key, value = qkv.unbind(2)
    query, key = apply_rotary_pos_emb_vision(attention.q_norm(query), attention.k_norm(key), cos, sin)
    mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return attention.proj(mixed.transpose(1, 2).reshape(batch, length, -1))


class LetterHeads(nn.Module):
    """Two linear readings of a column's tokens: the letters in it, and how many letters came before it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.head_letters = nn.Linear(2 * hidden, SLOTS * (len(ALPHABET) + 1))
        self.head_ordinal = nn.Linear(2 * hidden, MAX_ORDINAL)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, 2 * columns, hidden) -> letters (batch, 4 * columns, 96), ordinal (batch, columns, 64)."""
        batch, tokens, hidden = features.shape
        columns = features.view(batch, 2, tokens // 2, hidden).transpose(1, 2).flatten(2)
        letters = self.head_letters(columns).view(batch, -1, len(ALPHABET) + 1)
        return letters, self.head_ordinal(columns)


def slot_targets(texts: list[str], centres: list[tuple[float, ...]], width: int) -> tuple[Tensor, Tensor]:
    """The letter whose centre lies in each 7 px slot (batch, slots), and the letters before each column."""
    slots = torch.zeros(len(texts), width // 7, dtype=torch.long)
    for row, (text, positions) in enumerate(zip(texts, centres, strict=True)):
        for letter, centre in zip(text, positions, strict=True):
            slots[row, min(int(centre / 7), width // 7 - 1)] = CLASS_OF[letter]
    before = torch.zeros(len(texts), width // 28, dtype=torch.long)
    for row, positions in enumerate(centres):
        edges = torch.arange(width // 28) * 28
        before[row] = torch.searchsorted(torch.tensor(positions), edges.float()).clamp(max=MAX_ORDINAL - 1)
    return slots, before


def letter_losses(
    heads: LetterHeads, features: Tensor, texts: list[str], centres: list[tuple[float, ...]], width: int
) -> dict[str, Tensor]:
    """Losses per letter: ``slots`` (known positions), ``ctc`` (free positions), ``ordinal`` (per column)."""
    letters, ordinal = heads(features)
    slots, before = slot_targets(texts, centres, width)
    targets = torch.tensor([CLASS_OF[letter] for text in texts for letter in text])
    lengths = torch.tensor([len(text) for text in texts])
    log_probs = letters.log_softmax(-1)
    steps = torch.full((len(texts),), letters.shape[1])
    ctc = F.ctc_loss(log_probs.transpose(0, 1), targets, steps, lengths, reduction="sum", zero_infinity=True)
    return {
        "slots": F.nll_loss(log_probs.flatten(0, 1), slots.flatten(), reduction="sum") / lengths.sum(),
        "ctc": ctc / lengths.sum(),
        "ordinal": F.cross_entropy(ordinal.flatten(0, 1), before.flatten()),
    }


def read_letters(letters: Tensor) -> list[str]:
    """Best-path CTC decoding of logits (batch, steps, 96)."""
    texts = []
    for row in letters.argmax(-1).tolist():
        kept = [c for previous, c in zip([0, *row], row, strict=False) if c and c != previous]
        texts.append("".join(ALPHABET[c - 1] for c in kept))
    return texts


@torch.no_grad()
def initialise(visual: GlmOcrVisionModel) -> None:
    """Start from patch filters that ignore the grey of the paper, and from quiet residual branches.

    With random filters the paper outweighs the ink in every patch, and little is learnt for thousands of steps.
    """
    weight = visual.patch_embed.proj.weight
    filters = torch.randn(weight.shape[0], 1, 1, *weight.shape[3:])
    filters = F.avg_pool2d(filters[:, 0], 3, stride=1, padding=1)[:, None]
    filters -= filters.mean((-1, -2), keepdim=True)
    weight.copy_(filters.div(filters.std()) * 0.012)
    visual.patch_embed.proj.bias.normal_(std=0.5)
    for block in visual.blocks:
        block.attn.proj.weight.mul_(0.5)
        block.mlp.down_proj.weight.mul_(0.5)
