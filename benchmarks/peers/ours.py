"""This project's own path: ``glm_ocr_finetune.train.train``, as ``finetune.py`` calls it.

Arguments that are not named here go to it unchanged, for instance ``--cache_vision_features off``.
"""

from __future__ import annotations

from typing import Any

from recording import parse_arguments, read_rows, recorder


def main() -> None:
    args, rest = parse_arguments(__doc__ or "")
    import torch

    from glm_ocr_finetune import train as workflow
    from glm_ocr_finetune.parse import parse_train

    torch.set_num_threads(args.threads)
    record = recorder(args)
    given = {
        "model_name": args.model,
        "dataset_name": args.data,
        "max_samples": len(read_rows(args)),
        "eval_split_size": 0,
        "use_lora": args.mode == "lora",
        "output_dir": args.scratch,
        "per_device_train_batch_size": args.batch_size,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": args.epochs,
        "save_strategy": "no",
        "report_to": "none",
        "seed": args.seed,
    }
    argv = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    create_trainer = workflow.create_trainer

    def recorded(*args_: Any, **kwargs: Any) -> Any:
        trainer = create_trainer(*args_, **kwargs)
        trainer.add_callback(record)
        return trainer

    workflow.create_trainer = recorded
    workflow.write = lambda trainer: None  # nothing that is measured
    workflow.train(*parse_train([*argv, *rest], "ours.py"))


if __name__ == "__main__":
    main()
