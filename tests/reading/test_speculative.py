"""Drafts change how soon an answer is there, not what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import WORDS, draw_line
from safetensors.torch import save_file

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.draft_layer import DEPTH, load_draft_layer
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.model.mtp import MTP_FILE, read_mtp_tensors
from glm_ocr_finetune.reading.generate import Request, generate_all
from glm_ocr_finetune.reading.speculative import Slots, Speculation, speculation_for
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache
from glm_ocr_finetune.vision.encoder import VisionEncoder
from glm_ocr_finetune.vision.pixels import read_pixels

PROMPT = "Text Recognition:"
Reader = tuple[Any, PromptRenderer]


@pytest.fixture(scope="module")
def reader() -> Reader:
    model, processor, prompt_format = load_for_reading("tiny", device_map="cpu")
    return model, PromptRenderer(processor, prompt_format)


def requests(renderer: PromptRenderer, limits: Sequence[int], cache: VisionCache | None = None) -> list[Request]:
    """Lines of different widths and lengths of text."""
    found = []
    for i, limit in enumerate(limits):
        image = draw_line(" ".join(WORDS[: 1 + i % 3]), (140 + 60 * (i % 4), 56))
        found.append(Request(partial(read_pixels, image, renderer, cache), PROMPT, 20, limit))
    return found


def answers(reader: Reader, limits: list[int], batch_size: int, penalty: float = 1.0, **how: Any) -> list[Any]:
    model, renderer = reader
    cache = how["encoder"].cache if "encoder" in how else None
    found = dict(generate_all(model, renderer, requests(renderer, limits, cache), batch_size, penalty, **how))
    return [found[i] for i in range(len(limits))]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_same_is_read(reader: Reader, batch_size: int, penalty: float) -> None:
    """Rows are of different lengths, padded on the left, stop at different times, and accept and refuse differently."""
    limits = [40, 7, 40, 1, 40, 40, 2, 40, 40, 40, 40, 3]
    speculation = speculation_for(reader[0], "tiny")
    assert answers(reader, limits, batch_size, penalty, speculation=speculation) == answers(
        reader, limits, batch_size, penalty
    )
    assert 0 < speculation.accepted[0] < speculation.rounds, "some drafts must stand and some must be refused"
    assert speculation.accepted == sorted(speculation.accepted, reverse=True)


def test_the_same_is_read_with_kept_features(reader: Reader) -> None:
    limits = [40] * 12
    encoder = VisionEncoder(VisionCache("name", MemoryStore(1e9)))
    plain = answers(reader, limits, 4)
    for _ in range(2):  # computed, then found
        assert answers(reader, limits, 4, encoder=encoder, speculation=speculation_for(reader[0], "tiny")) == plain


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_same_is_read_at_every_depth(reader: Reader, depth: int) -> None:
    speculation = speculation_for(reader[0], "tiny")
    speculation.depth = depth
    assert answers(reader, [40] * 12, 5, speculation=speculation) == answers(reader, [40] * 12, 5)
    assert not any(speculation.accepted[depth:])


def test_drafts_that_are_all_wrong_change_nothing(reader: Reader) -> None:
    speculation = speculation_for(reader[0], "tiny")
    with torch.no_grad():
        speculation.layer.norm.weight.neg_()  # the least likely token is drafted
    assert answers(reader, [40] * 12, 8, speculation=speculation) == answers(reader, [40] * 12, 8)
    assert speculation.accepted == [0] * DEPTH
    assert speculation.mean_length == 1


def test_a_layer_that_knows_the_answer_is_accepted_whole(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right drafts put in its place, each check of the model gives four tokens."""
    from glm_ocr_finetune.reading import speculative

    [plain] = answers(reader, [40], 1)
    truth = [*plain.token_ids, reader[1].stop_token_id]
    draft = speculative.Rows._draft_from
    done = iter(range(1, 100, DEPTH + 1))

    def knowing(self: Any, *args: Any) -> None:
        draft(self, *args)
        begin = next(done)
        right = truth[begin : begin + DEPTH]
        self.proposed = torch.tensor([right + [0] * (DEPTH - len(right))])

    monkeypatch.setattr(speculative.Rows, "_draft_from", knowing)
    speculation = speculation_for(reader[0], "tiny")
    assert answers(reader, [40], 1, speculation=speculation) == [plain]
    assert speculation.rounds == -(-(len(truth) - 1) // (DEPTH + 1))


def test_figures() -> None:
    speculation = Speculation(torch.nn.Identity(), rounds=4, accepted=[3, 1, 0], tokens=8, seconds=2.0)  # type: ignore[arg-type]
    assert speculation.mean_length == 2
    assert str(speculation) == (
        "drafts accepted by position: 75.0%, 25.0%, 0.0%; 2.00 tokens for each check of the model; 4.0 tokens a second"
    )


def test_slots_are_written_anew_where_a_row_goes_back() -> None:
    slots = Slots([(torch.zeros(2, 1, 0, 1), torch.zeros(2, 1, 0, 1))])
    slots.write = torch.tensor([[0, 1, 2], [0, 1, 2]])
    first = torch.tensor([[1.0, 2, 3], [4, 5, 6]]).view(2, 1, 3, 1)
    slots.update(first, first, 0)
    slots.write = torch.tensor([[3, 4], [1, 2]])  # the second row keeps one of its three
    second = torch.tensor([[7.0, 8], [9, 10]]).view(2, 1, 2, 1)
    keys, values = slots.update(second, second, 0)
    assert keys[0].flatten().tolist() == values[0].flatten().tolist() == [1, 2, 3, 7, 8]
    assert keys[1].flatten()[:3].tolist() == [4, 9, 10]
    assert slots.mask()[1, 0].tolist() == [[True, True, False, False, False], [True, True, True, False, False]]


def test_an_adapter_s_own_layer_is_taken(reader: Reader, tmp_path: Path) -> None:
    model = reader[0]
    tensors = read_mtp_tensors(model.name_or_path, model.config)
    changed = {name: value * 2 if name.endswith("enorm.weight") else value for name, value in tensors.items()}
    save_file(changed, tmp_path / MTP_FILE)
    base = load_draft_layer(model.name_or_path, model.config)
    assert base is not None
    found = speculation_for(model, "tiny", adapter=str(tmp_path)).layer
    assert torch.equal(found.enorm.weight, base.enorm.weight * 2)


def test_a_model_without_the_layer_is_refused(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader[0], "name_or_path", str(tmp_path))
    with pytest.raises(UserError, match="mine has no multi-token-prediction layer to draft with"):
        speculation_for(reader[0], "mine")


def test_loops_end_where_they_end_without_drafts(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without stop tokens the model goes on for ever, and most answers come to repeat themselves."""
    monkeypatch.setattr(reader[0].generation_config, "eos_token_id", [319])  # never written
    limits = [200] * 4
    plain = answers(reader, limits, 4, stop_loops=True)
    assert any(len(answer.token_ids) < 200 for answer in plain), "some answer must end as a loop"
    assert answers(reader, limits, 4, stop_loops=True, speculation=speculation_for(reader[0], "tiny")) == plain
