"""The multi-token-prediction layer computes its formula, and takes and gives the tensors of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mtp_by_hand import ByHand
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.model.draft_layer import DraftLayer, load_draft_layer, text_embeddings
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.model.mtp import mtp_prefix, read_mtp_tensors

LENGTH = 6


@pytest.fixture(scope="module")
def model() -> Any:
    return load_weights("tiny-random").eval()


@pytest.fixture(scope="module")
def layer(model: Any) -> DraftLayer:
    found = load_draft_layer(model.name_or_path, model.config)
    assert found is not None
    with torch.no_grad():  # the norms of random weights are all ones, and hide what they are applied to
        for name, value in found.named_parameters():
            if "norm" in name:
                value.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    return found


def inputs(model: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids (1, L), states (1, L, hidden) and positions (3, 1, L) that differ in time, row and column."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, model.config.text_config.vocab_size, (1, LENGTH), generator=generator)
    hidden = torch.randn(1, LENGTH, model.config.text_config.hidden_size, generator=generator)
    return ids, hidden, torch.tensor([[0, 1, 1, 1, 3, 4], [0, 1, 1, 2, 3, 4], [0, 1, 2, 2, 3, 4]])[:, None]


def test_it_is_the_formula(model: Any, layer: DraftLayer) -> None:
    ids, hidden, positions = inputs(model)
    rotary = model.model.language_model.rotary_emb(hidden, position_ids=positions)
    attention = layer.block.self_attn

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return sdpa_attention_forward(attention, query, key, value, None, scaling=attention.scaling)[0]

    embeds = text_embeddings(model, ids, positions)
    with torch.no_grad():
        found = layer(embeds, hidden, rotary, attend)[0]
        prefix = mtp_prefix(model.config)
        own = layer.tensors(model.config, model.get_input_embeddings().weight, model.lm_head.weight)
        by_hand = ByHand({n.removeprefix(prefix).removesuffix(".weight"): v for n, v in own.items()}, model.config)
        table = model.get_input_embeddings().weight
        states = [by_hand.put(table[ids[0, t]], hidden[0, t], positions[:, 0, t].tolist()) for t in range(LENGTH)]
    torch.testing.assert_close(found, torch.stack(states), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        logits = torch.stack([by_hand.logits(state, model.lm_head.weight) for state in states])
        torch.testing.assert_close(model.lm_head(layer.drafted(found)), logits, rtol=1e-4, atol=1e-4)


def test_its_block_is_the_model_s_own_decoder_block(model: Any, layer: DraftLayer) -> None:
    """What is done in parts, so that few rows are drafted from, is what the block's own forward does."""
    _, hidden, positions = inputs(model)
    rotary = model.model.language_model.rotary_emb(hidden, position_ids=positions)
    attention, rows = layer.block.self_attn, torch.tensor([[2, 5]])

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        mask = (torch.arange(LENGTH) <= rows[..., None])[:, None]
        return sdpa_attention_forward(attention, query, key, value, mask, scaling=attention.scaling, is_causal=False)[0]

    with torch.no_grad():
        x = layer.eh_proj(torch.cat([layer.enorm(hidden), layer.hnorm(hidden.flip(1))], -1))
        whole = layer.block(x, position_embeddings=rotary, attention_mask=None)
        found = layer(hidden, hidden.flip(1), rotary, attend, rows)
    torch.testing.assert_close(found, whole[:, rows[0]], rtol=1e-5, atol=1e-5)


def test_its_tensors_come_back_bit_for_bit(model: Any) -> None:
    base = read_mtp_tensors(model.name_or_path, model.config)
    layer = load_draft_layer(model.name_or_path, model.config, torch.bfloat16)
    assert layer is not None
    prefix = mtp_prefix(model.config)
    copies = base[f"{prefix}embed_tokens.weight"], base[f"{prefix}shared_head.head.weight"]
    found = layer.tensors(model.config, *copies)
    assert found.keys() == base.keys()
    assert all(torch.equal(found[name], base[name]) for name in base)


def test_loading_draws_no_random_numbers(model: Any) -> None:
    torch.manual_seed(3)
    load_draft_layer(model.name_or_path, model.config)
    after = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(4))


def test_a_missing_or_misshapen_tensor_is_named(model: Any) -> None:
    base = read_mtp_tensors(model.name_or_path, model.config)
    name = f"{mtp_prefix(model.config)}eh_proj.weight"
    layer = DraftLayer(model.config)
    with pytest.raises(UserError, match=r"eh_proj.weight is missing; expected \(192, 384\)"):
        layer.load({key: value for key, value in base.items() if key != name}, model.config)
    with pytest.raises(UserError, match=r"eh_proj.weight is \(384, 192\); expected \(192, 384\)"):
        layer.load(base | {name: base[name].T}, model.config)


def test_a_checkpoint_without_the_layer_gives_none(model: Any, tmp_path: Path) -> None:
    assert load_draft_layer(str(tmp_path), model.config) is None
