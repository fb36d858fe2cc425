"""LLaMA-Factory 0.9.5 by its own entry point, with the settings of the official recipe for GLM-OCR.

LoRA of rank 8 on all linear layers of the language model, or all of its weights; vision tower and projector frozen;
fp32, because bf16 is emulated on most CPUs. Batches are drawn in the order of the rows. Run with the Python of the
environment that ``setup_llamafactory.sh`` makes.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from recording import parse_arguments, read_rows, recorder


def write_dataset(args: argparse.Namespace) -> None:
    """The rows as a ShareGPT file, and the ``dataset_info.json`` that describes it."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<image>Text Recognition:"},
                {"role": "assistant", "content": row["text"]},
            ],
            "images": [row["image"]],
        }
        for row in read_rows(args)
    ]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    info = {"lines": {"file_name": "lines.json", "formatting": "sharegpt", "columns": columns, "tags": tags}}
    args.scratch.mkdir(parents=True, exist_ok=True)
    (args.scratch / "lines.json").write_text(json.dumps(rows, ensure_ascii=False))
    (args.scratch / "dataset_info.json").write_text(json.dumps(info))


def recipe(args: argparse.Namespace) -> dict[str, Any]:
    """What would stand in the YAML file."""
    tuned = {"finetuning_type": "lora", "lora_rank": 8, "lora_target": "all"} if args.mode == "lora" else {}
    frozen = {"freeze_vision_tower": True, "freeze_multi_modal_projector": True}
    return frozen | {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": args.model,
        "trust_remote_code": False,
        "dataset": "lines",
        "dataset_dir": str(args.scratch),
        "media_dir": str(args.data),
        "template": "glm_ocr",
        "cutoff_len": 2048,
        "output_dir": str(args.scratch / "output"),
        "overwrite_cache": True,
        "per_device_train_batch_size": args.batch_size,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": args.epochs,
        "learning_rate": 1e-4 if args.mode == "lora" else 1e-5,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "disable_shuffling": True,
        "disable_gradient_checkpointing": True,
        "bf16": False,
        "use_cpu": True,
        "dataloader_num_workers": 0,
        "save_strategy": "no",
        "report_to": "none",
        "seed": args.seed,
        **tuned,
    }


def main() -> None:
    args, _ = parse_arguments(__doc__ or "")
    os.environ["DISABLE_VERSION_CHECK"] = "1"
    import torch

    torch.set_num_threads(args.threads)
    from llamafactory.train.tuner import run_exp
    from transformers import Trainer

    Trainer.save_model = lambda *args, **kwargs: None  # nothing that is measured
    write_dataset(args)
    run_exp(recipe(args), callbacks=[recorder(args)])


if __name__ == "__main__":
    main()
