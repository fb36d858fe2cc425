"""What data-loading workers need, under every start method, and which batches the ranks get."""

from __future__ import annotations

import copy
import pickle
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import set_seed

from glm_ocr_finetune import TrainingArguments, create_trainer, load_model
from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.batching import BatchPlan
from glm_ocr_finetune.data.collate import VLMDataCollator
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.train import ListedIn
from glm_ocr_finetune.training.loaders import EachOnce, Samples, in_order
from glm_ocr_finetune.vision.cache import MemoryStore, VisionCache


def losses(base: Any, folder: Path, output: Path, cached: bool, **changes: Any) -> tuple[list[float], Any]:
    """Losses of two epochs of six steps, and the trainer."""
    set_seed(1)
    model, processor = copy.deepcopy(base[0]), base[1]
    rows = load_splits(DataArguments(str(folder)), PromptRenderer(processor), 2048, 0, evaluate=False).train
    defaults: dict[str, Any] = {
        "output_dir": str(output),
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    cache = VisionCache("name", MemoryStore(1e8)) if cached else None
    collator = VLMDataCollator(
        PromptRenderer(processor), max_length=2048, cache=cache, on_bad_image=ListedIn(output / "bad.jsonl")
    )
    trainer = create_trainer(model, processor, rows, TrainingArguments(**defaults | changes), collator=collator)
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row], trainer


@pytest.fixture(scope="module")
def base() -> Any:
    return load_model("tiny-random")


@pytest.fixture(scope="module")
def expected(base: Any, line_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(base, line_folder, tmp_path_factory.mktemp("out"), False)[0]


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spawn", "forkserver"))]
)
@pytest.mark.parametrize("persistent", [False, True])
def test_workers_of_every_start_method_train_the_same_and_encode_each_image_once(
    base: Any, line_folder: Path, tmp_path: Path, expected: list[float], method: str, persistent: bool
) -> None:
    changes = {"dataloader_num_workers": 2, "dataloader_multiprocessing_context": method}
    found, trainer = losses(base, line_folder, tmp_path, True, **changes, dataloader_persistent_workers=persistent)
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(trainer.encoder.cache.store.entries) == 12
    assert trainer.encoder.live in (0, 12)  # counted anew in each epoch where the tower may leave
    assert trainer.get_train_dataloader().multiprocessing_context.get_start_method() == method


def test_what_goes_to_a_worker_can_be_pickled(processor: Any, line_folder: Path, tmp_path: Path) -> None:
    collator = VLMDataCollator(PromptRenderer(processor), max_length=300, on_bad_image=ListedIn(tmp_path / "bad.jsonl"))
    rows = load_splits(DataArguments(str(line_folder)), collator.renderer, 2048, 0, evaluate=False).train
    batch = collator([rows[0], rows[1]])  # the renderer has rendered a prompt by now
    there, samples = pickle.loads(pickle.dumps((collator, Samples(rows))))
    again = there(samples.__getitems__([0, 1]))
    assert {name: value.tolist() for name, value in batch.items()} == {n: v.tolist() for n, v in again.items()}
    assert samples.__getitems__([]) == []


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5, 12])
def test_every_sample_once_over_all_ranks(count: int, num_ranks: int) -> None:
    def plan(rank: int) -> BatchPlan:
        return BatchPlan(np.zeros(count, np.int32), 2, None, False, 7, lambda: 3, rank, num_ranks)

    for shares in (
        [list(EachOnce(plan(rank))) for rank in range(num_ranks)],
        [list(in_order(count, 2, rank, num_ranks)) for rank in range(num_ranks)],
    ):
        assert len({len(share) for share in shares}) == 1
        assert sorted(chain(*chain(*shares))) == list(range(count))
    alone = list(BatchPlan(np.zeros(count, np.int32), 2, None, False, 7, lambda: 3))
    together = list(chain(*zip(*[EachOnce(plan(rank)) for rank in range(num_ranks)], strict=True)))
    assert [batch for batch in together if batch] == alone
