"""The language model on image features: batches of one image width share one prompt, so nothing is padded before
the answer and the positions are computed once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import GlmOcrForConditionalGeneration

from glm_ocr_finetune.inputs.prompt import IGNORED, PromptRenderer

PROMPTS = ("Text Recognition:", "Table Recognition:", "Formula Recognition:")
PROMPT_WEIGHTS = (80, 10, 10)
NO_THINK_SHARE = 0.15


@dataclass(frozen=True)
class Sequences:
    """Training sequences of equal prompts.

    Attributes:
        input_ids: (batch, length), answers padded on the right with the stop token.
        labels: (batch, length), ``IGNORED`` on the prompt and on the padding.
        image_start, num_image_tokens: where the image tokens stand in every row.
    """

    input_ids: Tensor
    labels: Tensor
    image_start: int
    num_image_tokens: int

    @property
    def answer_start(self) -> int:
        """Index of the first trained token, the same in every row."""
        return int((self.labels[0] != IGNORED).nonzero()[0])


class SequenceBuilder:
    """Draws a prompt and a prompt format for each batch, and builds its sequences with the package's renderer."""

    def __init__(self, renderers: dict[str, PromptRenderer], rng: random.Random) -> None:
        self.renderers = renderers
        self.rng = rng

    def build(self, texts: list[str], num_image_tokens: int) -> Sequences:
        renderer = self.renderers["no_think" if self.rng.random() < NO_THINK_SHARE else "serve"]
        prompt = self.rng.choices(PROMPTS, PROMPT_WEIGHTS)[0]
        rows = [renderer.encode(prompt, text, num_image_tokens) for text in texts]
        length = max(len(row.input_ids) for row in rows)
        ids = torch.full((len(rows), length), renderer.stop_token_id)
        labels = torch.full((len(rows), length), IGNORED)
        for index, row in enumerate(rows):
            ids[index, : len(row.input_ids)] = torch.tensor(row.input_ids)
            labels[index, : len(row.labels)] = torch.tensor(row.labels)
        return Sequences(ids, labels, rows[0].input_ids.index(renderer.image_token_id), num_image_tokens)


def positions(model: GlmOcrForConditionalGeneration, sequences: Sequences) -> Tensor:
    """The (3, batch, length) rotary positions of sequences whose image has two rows of tokens."""
    row = sequences.input_ids[:1]
    kinds = (row == model.config.image_token_id).int()
    grid = torch.tensor([[1, 4, sequences.num_image_tokens]])
    index, _ = model.model.get_rope_index(row, mm_token_type_ids=kinds, image_grid_thw=grid)
    return index.expand(3, len(sequences.input_ids), -1)


def run_trunk(model: GlmOcrForConditionalGeneration, sequences: Sequences, features: Tensor) -> Tensor:
    """Hidden states (batch, length, hidden) behind the final norm, with ``features`` at the image tokens."""
    embeds = model.get_input_embeddings()(sequences.input_ids)
    end = sequences.image_start + sequences.num_image_tokens
    embeds = torch.cat([embeds[:, : sequences.image_start], features, embeds[:, end:]], 1)
    output = model.model.language_model(inputs_embeds=embeds, position_ids=positions(model, sequences), use_cache=False)
    return output.last_hidden_state


def answer_loss(model: GlmOcrForConditionalGeneration, sequences: Sequences, features: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy per trained token (answer and stop token), and the share of tokens guessed rightly."""
    start = sequences.answer_start
    hidden = run_trunk(model, sequences, features)[:, start - 1 : -1]
    logits, labels = model.lm_head(hidden), sequences.labels[:, start:]
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    trained = labels != IGNORED
    return loss, (logits.argmax(-1) == labels)[trained].float().mean()


@torch.no_grad()
def read_lines(
    model: GlmOcrForConditionalGeneration, renderer: PromptRenderer, features: Tensor, max_new_tokens: int = 64
) -> list[str]:
    """Greedy readings of images of one width, from their features (batch, tokens, hidden)."""
    prompt = renderer.prompt_ids(PROMPTS[0], features.shape[1])
    ids = torch.tensor([prompt] * len(features))
    start = prompt.index(renderer.image_token_id)
    done = torch.zeros(len(features), dtype=torch.bool)
    for _ in range(max_new_tokens):
        hidden = run_trunk(model, Sequences(ids, ids, start, features.shape[1]), features)
        token = model.lm_head(hidden[:, -1]).argmax(-1).masked_fill(done, renderer.stop_token_id)
        ids = torch.cat([ids, token[:, None]], 1)
        done |= token == renderer.stop_token_id
        if done.all():
            break
    return renderer.tokenizer.batch_decode(ids[:, len(prompt) :], skip_special_tokens=True)
