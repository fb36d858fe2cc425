"""ms-swift 4.6.0 by its own entry point: LoRA of rank 8 on the linear layers of the language model, or all of it.

Vision tower and projector frozen; fp32; batches in the order of the rows. Run with the Python of the environment
that ``setup_ms_swift.sh`` makes.
"""

from __future__ import annotations

import json
from typing import Any

from .recording import Settings, parse_settings, read_rows, recording


def write_dataset(settings: Settings) -> str:
    """The rows in ms-swift's own form."""
    settings.scratch.mkdir(parents=True, exist_ok=True)
    file = settings.scratch / "lines.jsonl"
    with file.open("w", encoding="utf-8") as handle:
        for row in read_rows(settings):
            messages = [
                {"role": "user", "content": "<image>Text Recognition:"},
                {"role": "assistant", "content": row["text"]},
            ]
            images = [str((settings.data / row["image"]).resolve())]
            handle.write(json.dumps({"messages": messages, "images": images}, ensure_ascii=False) + "\n")
    return str(file)


def recipe(settings: Settings, dataset: str) -> dict[str, Any]:
    """What would stand on the command line of ``swift sft``."""
    return {
        "model": settings.model,
        "model_type": "glm_ocr",
        "use_hf": True,
        "dataset": dataset,
        "dataset_shuffle": False,
        "train_dataloader_shuffle": False,
        "split_dataset_ratio": 0,
        "tuner_type": settings.mode,
        "lora_rank": 8,
        "lora_alpha": 16,
        "target_modules": "all-linear",
        "freeze_vit": True,
        "freeze_aligner": True,
        "torch_dtype": "float32",
        "max_length": 2048,
        "output_dir": str(settings.scratch / "output"),
        "add_version": False,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "num_train_epochs": settings.epochs,
        "learning_rate": 1e-4 if settings.mode == "lora" else 1e-5,
        "warmup_ratio": 0.1,
        "dataloader_num_workers": 0,
        "dataset_num_proc": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": settings.seed,
    }


def main() -> None:
    settings, _ = parse_settings(__doc__ or "")
    import torch
    from swift import sft_main
    from transformers.trainer import DEFAULT_CALLBACKS

    torch.set_num_threads(settings.threads)
    given = recipe(settings, write_dataset(settings))
    with recording(settings) as record:
        DEFAULT_CALLBACKS.append(record)
        sft_main([word for name, value in given.items() for word in (f"--{name}", str(value))])


if __name__ == "__main__":
    main()
