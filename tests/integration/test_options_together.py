"""Each option with the defaults, evaluation and reading among them, and pairs of options where they touch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DEFAULTS = ("--report_to", "none", "--disable_tqdm", "True", "--max_steps", 4, "--eval_steps", 2, "--save_steps", 2)
LORA = ("--use_lora", "True")
FOUR_BIT = (*LORA, "--load_in_4bit", "True")
TOWER = ("--freeze_vision_tower", "False")
PROJECTOR = ("--freeze_multi_modal_projector", "False")
BY_LENGTH = ("--train_sampling_strategy", "group_by_length")
BY_TOKENS = ("--tokens_per_batch", 90)
PADDED = ("--padding_free", "False")
IN_MEMORY, ON_DISK = (("--cache_vision_features", mode) for mode in ("memory", "disk"))
WORKERS = ("--dataloader_num_workers", 2)
CHECKPOINTING = ("--gradient_checkpointing", "True")
BF16 = ("--bf16", "True")
ONE_KEPT = ("--save_total_limit", 1)
PATIENCE = ("--early_stopping_patience", 1)
NO_READING = ("--eval_generate", "False")
NO_EVALUATION = ("--eval_strategy", "no")
BY_EPOCH = ("--eval_strategy", "epoch", "--save_strategy", "epoch")
BEST = ("--save_strategy", "best")
BY_WER = ("--metric_for_best_model", "eval_wer")
PROBE = ("--probe_dataset", "{lines}", "--eval_samples", 2)
REPLAY = ("--replay_dataset", "{lines}", "--replay_ratio", 0.5)
SHRUNK = ("--max_length", 26)

ALONE: list[tuple[Any, ...]] = [
    *((), LORA, FOUR_BIT, TOWER, PROJECTOR, BY_LENGTH, BY_TOKENS, PADDED, IN_MEMORY, ON_DISK, WORKERS, CHECKPOINTING),
    *(BF16, ONE_KEPT, PATIENCE, NO_READING, NO_EVALUATION, BY_EPOCH, BEST, BY_WER, PROBE, REPLAY, SHRUNK),
    *(("--train_sampling_strategy", "sequential"), ("--lora_target", "q_proj,v_proj", *LORA)),
    *(("--prompt_format", "no_think"), ("--prompt", "Read:"), ("--max_pixels", 7840), ("--vision_cache_gb", 0.00001)),
    *(("--text_normalisation", "nfc_case"), ("--cer_unit", "codepoint"), ("--eval_samples", 1)),
    *(("--max_samples", 7), ("--eval_split_size", 0.5), ("--eval_split", "train"), ("--save_strategy", "no")),
]
TOUCHING: list[tuple[Any, ...]] = [
    *((*BY_LENGTH, *other) for other in (BY_TOKENS, WORKERS, LORA, PADDED, ON_DISK, REPLAY, NO_EVALUATION)),
    *((*BY_TOKENS, *other) for other in (PADDED, WORKERS, IN_MEMORY, REPLAY, SHRUNK, CHECKPOINTING)),
    *((*WORKERS, *other) for other in (IN_MEMORY, ON_DISK, PROBE, TOWER, ("--dataloader_persistent_workers", "True"))),
    *((*CHECKPOINTING, *other) for other in (LORA, FOUR_BIT, TOWER, PADDED, BF16, PROBE)),
    *((*PATIENCE, *other) for other in (NO_READING, BY_EPOCH, ONE_KEPT, BY_WER, LORA, BEST)),
    *((*ONE_KEPT, *other) for other in (BY_EPOCH, NO_READING, LORA, NO_EVALUATION)),
    *((*PROBE, *other) for other in (LORA, NO_EVALUATION, NO_READING, REPLAY, FOUR_BIT)),
    *((*TOWER, *other) for other in (PROJECTOR, LORA, PADDED, BF16)),
    *((*SHRUNK, *other) for other in (IN_MEMORY, LORA)),
]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [*ALONE, *TOUCHING], ids=lambda flags: " ".join(map(str, flags)) or "defaults")
def test_options_work_together(
    line_folder: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]], flags: tuple[Any, ...]
) -> None:
    if "--load_in_4bit" in flags:
        pytest.importorskip("bitsandbytes")
    words = [str(word).format(lines=line_folder) for word in flags]
    where = ("--dataset_name", line_folder, "--output_dir", tmp_path / "out")
    code, _, err = run("train", "--model_name", "tiny-random", *where, *DEFAULTS, *words)
    assert code == 0, err
    assert list((tmp_path / "out").glob("*model.safetensors"))
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert any("eval_loss" in row for row in history) == ("no" not in words[1:] or "--eval_strategy" not in words)
