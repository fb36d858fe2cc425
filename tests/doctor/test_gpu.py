"""What torch says of the GPUs: here that there is none."""

from __future__ import annotations

import torch

from glm_ocr_finetune.doctor.fresh import run_module
from glm_ocr_finetune.doctor.gpu import gpus


def test_a_machine_without_a_gpu() -> None:
    assert gpus() == {
        "devices": [],
        "cuda": torch.version.cuda or torch.version.hip,
        "other": None,
        "threads": torch.get_num_threads(),
    }
    answer = run_module("doctor.gpu").answer
    assert answer is not None
    assert answer["devices"] == []
