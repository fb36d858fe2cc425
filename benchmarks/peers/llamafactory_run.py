"""LLaMA-Factory 0.9.5 by its own entry point, with the settings of the official recipe for GLM-OCR.

LoRA of rank 8 on all linear layers of the language model, or all of its weights; vision tower and projector frozen;
fp32 on a CPU, because bf16 is emulated on most of them; on a GPU bf16, from a bf16 checkpoint. Batches are drawn in the order of the rows. Run with the Python of the
environment that ``setup_llamafactory.sh`` makes.
"""

from __future__ import annotations

import json
import os
from typing import Any

from .recording import Settings, parse_settings, read_rows, recording


def write_dataset(settings: Settings) -> None:
    """The rows as a ShareGPT file, and the ``dataset_info.json`` that describes it."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<image>Text Recognition:"},
                {"role": "assistant", "content": row["text"]},
            ],
            "images": [row["image"]],
        }
        for row in read_rows(settings)
    ]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    info = {"lines": {"file_name": "lines.json", "formatting": "sharegpt", "columns": columns, "tags": tags}}
    settings.scratch.mkdir(parents=True, exist_ok=True)
    (settings.scratch / "lines.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    (settings.scratch / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


def recipe(settings: Settings) -> dict[str, Any]:
    """What would stand in the YAML file."""
    tuned = {"finetuning_type": "lora", "lora_rank": 8, "lora_target": "all"} if settings.mode == "lora" else {}
    frozen = {"freeze_vision_tower": True, "freeze_multi_modal_projector": True}
    return frozen | {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": settings.model,
        "trust_remote_code": False,
        "dataset": "lines",
        "dataset_dir": str(settings.scratch),
        "media_dir": str(settings.data),
        "template": "glm_ocr",
        "cutoff_len": 2048,
        "output_dir": str(settings.scratch / "output"),
        "overwrite_cache": True,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": settings.epochs,
        "learning_rate": 1e-4 if settings.mode == "lora" else 1e-5,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "disable_shuffling": True,
        "disable_gradient_checkpointing": not settings.on_gpu,
        "bf16": settings.on_gpu,
        "use_cpu": not settings.on_gpu,
        "dataloader_num_workers": 0,
        "save_strategy": "no",
        "report_to": "none",
        "seed": settings.seed,
        **tuned,
    }


def main() -> None:
    settings, _ = parse_settings(__doc__ or "")
    os.environ["DISABLE_VERSION_CHECK"] = "1"
    import torch

    torch.set_num_threads(settings.threads)
    from llamafactory.train.tuner import run_exp
    from transformers import Trainer

    Trainer.save_model = lambda *args, **kwargs: None  # nothing that is measured
    write_dataset(settings)
    with recording(settings) as record:
        run_exp(recipe(settings), callbacks=[record])


if __name__ == "__main__":
    main()
