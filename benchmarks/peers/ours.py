"""This project's own path: ``glm_ocr_finetune.train.train``, as ``finetune.py`` calls it.

Arguments that are not named here go to it unchanged, for instance ``--cache_vision_features off``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..watching import train_watched
from .recording import Settings, parse_settings, read_rows, recording


def train(settings: Settings, others: Sequence[str] = ()) -> None:
    """Train as the settings say and as ``others``, more arguments of this project, do; the record is written."""
    given = {
        "model_name": settings.model,
        "dataset_name": settings.data,
        "max_samples": len(read_rows(settings)),
        "eval_split_size": 0,
        "use_lora": settings.mode == "lora",
        "output_dir": settings.scratch,
        "per_device_train_batch_size": settings.batch_size,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": settings.epochs,
        "save_strategy": "no",
        "report_to": "none",
        "seed": settings.seed,
    }
    argv = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    with recording(settings) as record:
        train_watched([*argv, *others], lambda trainer: trainer.add_callback(record))


def main() -> None:
    settings, others = parse_settings(__doc__ or "")
    import torch

    torch.set_num_threads(settings.threads)
    train(settings, others)


if __name__ == "__main__":
    main()
