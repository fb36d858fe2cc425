"""What the multi-token-prediction layer of the tiny model is pre-trained with: one draft, on the frozen trunk."""

from __future__ import annotations

import torch
from language import Sequences, positions, run_trunk
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GlmOcrConfig, GlmOcrForConditionalGeneration

from glm_ocr_finetune.inputs.prompt import IGNORED
from glm_ocr_finetune.model.draft_layer import DraftLayer


def fresh_layer(config: GlmOcrConfig) -> DraftLayer:
    """The layer with random weights, spread as those of the trunk are."""
    layer = DraftLayer(config)
    for module in layer.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=config.text_config.initializer_range)
    return layer


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Each row attends to itself and those before it: (B, heads, N, head_dim) -> (B, N, heads, head_dim)."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True).transpose(1, 2)


def draft_loss(
    model: GlmOcrForConditionalGeneration, layer: DraftLayer, sequences: Sequences, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross entropy of the tokens after the next, and the share of drafts that the trunk would accept.

    The trunk is frozen. Accepted means: the draft is the trunk's own greedy choice for that position. The first
    answer token is drafted too, by the last but one row of the prompt, as an engine does.
    """
    with torch.no_grad():
        hidden = run_trunk(model, sequences, features)
        embeds = model.get_input_embeddings()(sequences.input_ids)
        rotary = model.model.language_model.rotary_emb(hidden, positions(model, sequences)[..., :-1])
    start = sequences.answer_start
    following = torch.cat([torch.zeros_like(embeds[:, :1]), embeds[:, 2:]], 1)  # nothing at position 0, as in vLLM
    drafted = layer.drafted(layer(following, hidden[:, :-1], rotary, causal)[:, start - 2 : -1])
    logits, labels = F.linear(drafted, model.lm_head.weight), sequences.labels[:, start:]
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    accepted = logits.argmax(-1) == model.lm_head(hidden[:, start - 1 : -1]).argmax(-1)
    return loss, accepted[labels != IGNORED].float().mean()
