"""The drafts of a whole batch at once are those that an engine makes one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mtp_by_hand import ByHand, draft_logits

from glm_ocr_finetune.inputs.prompt import IGNORED
from glm_ocr_finetune.model.draft_layer import DEPTH, DraftLayer, load_draft_layer
from glm_ocr_finetune.model.loading import load_weights
from glm_ocr_finetune.model.mtp import mtp_prefix
from glm_ocr_finetune.training.draft_loss import WEIGHTS, Row, choices_of, draft_loss, starts_of

LENGTHS, PROMPTS = (9, 7, 5), (3, 4, 4)  # the last answer is one token, from which nothing is drafted


@pytest.fixture(scope="module")
def model() -> Any:
    return load_weights("tiny-random").eval()


@pytest.fixture
def layer(model: Any) -> DraftLayer:
    found = load_draft_layer(model.name_or_path, model.config)
    assert found is not None
    return found


def row(model: Any) -> Row:
    """Three samples, with states that want a gradient."""
    generator = torch.Generator().manual_seed(5)
    total, text = sum(LENGTHS), model.config.text_config
    ids = torch.randint(0, text.vocab_size, (1, total), generator=generator)
    labels = ids.clone()
    for start, prompt in zip((0, LENGTHS[0], LENGTHS[0] + LENGTHS[1]), PROMPTS, strict=True):
        labels[:, start : start + prompt] = IGNORED
    hidden = torch.randn(1, total, text.hidden_size, generator=generator)
    positions = torch.cat([torch.arange(length) for length in LENGTHS]).expand(3, 1, -1)
    return Row(hidden, ids, labels, positions, LENGTHS, choices_of(hidden, labels, model.lm_head))


def by_hand(model: Any, layer: DraftLayer, one: Row) -> tuple[float, list[list[bool]]]:
    """The loss, and which drafts of each start are what the trunk chooses."""
    prefix = mtp_prefix(model.config)
    tensors = layer.tensors(model.config, model.get_input_embeddings().weight, model.lm_head.weight)
    engine = ByHand({n.removeprefix(prefix).removesuffix(".weight"): v for n, v in tensors.items()}, model.config)
    loss, found, begin = 0.0, [], 0
    for length, prompt in zip(LENGTHS, PROMPTS, strict=True):
        part = slice(begin, begin + length)
        ids, hidden, positions = one.ids[0, part].tolist(), one.hidden[0, part], one.positions[:, 0, part]
        choices = (hidden @ model.lm_head.weight.T).argmax(-1).tolist()
        for start in range(prompt - 1, length - 2):
            depth = min(DEPTH, length - 2 - start)
            logits = draft_logits(engine, model, ids, hidden, positions, start, depth)
            wanted = [choices[start + step] for step in range(1, depth + 1)]
            for step in range(depth):
                loss -= WEIGHTS[step] * float(logits[step].log_softmax(-1)[wanted[step]])
            found.append([int(logits[step].argmax()) == wanted[step] for step in range(depth)])
        begin += length
    return loss, found


def test_loss_and_acceptance_are_those_of_single_drafts(model: Any, layer: DraftLayer) -> None:
    one = row(model)
    with torch.no_grad():
        loss, single = by_hand(model, layer, one)
        drafted = draft_loss(model, layer, one)
    assert drafted.loss is not None
    assert float(drafted.loss) == pytest.approx(loss, rel=1e-5)
    assert (
        drafted.counted.tolist() == [sum(len(start) > depth for start in single) for depth in range(DEPTH)] == [7, 5, 3]
    )
    assert drafted.accepted.tolist() == [
        sum(len(start) > depth and all(start[: depth + 1]) for start in single) for depth in range(DEPTH)
    ]


def test_drafts_that_the_trunk_would_make_are_accepted(model: Any, layer: DraftLayer) -> None:
    """Trained until it foresees the trunk's choices, all its drafts are accepted: the figure can rise, not only fall."""
    one, optimizer = row(model), torch.optim.AdamW(layer.parameters(), 1e-2)
    for _ in range(40):
        loss = draft_loss(model, layer, one).loss
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    drafted = draft_loss(model, layer, one)
    assert torch.equal(drafted.accepted, drafted.counted)


def test_no_gradient_reaches_the_trunk(model: Any, layer: DraftLayer) -> None:
    model.zero_grad()
    loss = draft_loss(model, layer, row(model)).loss
    assert loss is not None
    loss.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


def test_an_answer_of_one_token_has_nothing_to_draft(model: Any, layer: DraftLayer) -> None:
    one = row(model)
    last = slice(sum(LENGTHS[:2]), None)
    alone = Row(
        *(one.hidden[:, last], one.ids[:, last], one.labels[:, last], one.positions[..., last], LENGTHS[2:]),
        one.chosen[-1:],
    )
    assert draft_loss(model, layer, alone).loss is None


def test_starts_and_their_targets() -> None:
    labels = torch.tensor([IGNORED, IGNORED, 5, 6, 7, IGNORED, IGNORED, 8])
    starts, targets = starts_of(labels, torch.tensor([15, 16, 17, 18]))
    assert starts.tolist() == [1, 2]
    assert targets.tolist() == [[16, 17], [17, IGNORED], [IGNORED, IGNORED]]
