"""The multi-token-prediction layer as vLLM runs it: it drafts the token after the next one."""

from __future__ import annotations

import torch
from language import Sequences, positions, run_trunk
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GlmOcrConfig, GlmOcrForConditionalGeneration
from transformers.models.glm_ocr.modeling_glm_ocr import GlmOcrRMSNorm, GlmOcrTextDecoderLayer

from glm_ocr_finetune.inputs.prompt import IGNORED
from glm_ocr_finetune.model.mtp import mtp_prefix, mtp_shapes


class DraftLayer(nn.Module):
    """The layer's own fourteen tensors; embedding and head are the trunk's."""

    def __init__(self, config: GlmOcrConfig) -> None:
        super().__init__()
        text = config.text_config
        self.enorm = GlmOcrRMSNorm(text.hidden_size, eps=text.rms_norm_eps)
        self.hnorm = GlmOcrRMSNorm(text.hidden_size, eps=text.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * text.hidden_size, text.hidden_size, bias=False)
        self.block = GlmOcrTextDecoderLayer(text, layer_idx=0)
        self.norm = GlmOcrRMSNorm(text.hidden_size, eps=text.rms_norm_eps)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=text.initializer_range)

    def forward(self, embeds: Tensor, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """Embeddings of tokens 1..L and trunk states of tokens 0..L-1, (batch, L, hidden) -> drafts' states.

        ``rotary`` are cosine and sine at the positions of the trunk states. The first embedding is zeroed.
        """
        embeds = torch.cat([torch.zeros_like(embeds[:, :1]), embeds[:, 1:]], 1)
        joined = self.eh_proj(torch.cat([self.enorm(embeds), self.hnorm(hidden)], -1))
        return self.norm(self.block(joined, position_embeddings=rotary, attention_mask=None))

    def tensors(self, model: GlmOcrForConditionalGeneration) -> dict[str, Tensor]:
        """All sixteen tensors under their names in a checkpoint."""
        own = {name.removeprefix("block."): value.detach() for name, value in self.state_dict().items()}
        own["shared_head.norm.weight"] = own.pop("norm.weight")
        own["shared_head.head.weight"] = model.lm_head.weight.detach().clone()
        own["embed_tokens.weight"] = model.get_input_embeddings().weight.detach().clone()
        named = {mtp_prefix(model.config) + name: value for name, value in own.items()}
        if {n: tuple(t.shape) for n, t in named.items()} != mtp_shapes(model.config):
            raise ValueError("the draft layer's tensors are not those of the checkpoint format")
        return named


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
    drafted = layer(embeds[:, 1:], hidden[:, :-1], rotary)[:, start - 2 : -1]
    logits, labels = F.linear(drafted, model.lm_head.weight), sequences.labels[:, start:]
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    accepted = logits.argmax(-1) == model.lm_head(hidden[:, start - 1 : -1]).argmax(-1)
    return loss, accepted[labels != IGNORED].float().mean()
