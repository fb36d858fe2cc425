"""Plain TRL, as people run it: ``SFTTrainer`` with its own collator for images, and LoRA on all linear layers.

With ``--mode full`` vision tower and projector are frozen by ``requires_grad``, as in the official recipe. Batches
are drawn in the order of the rows. Run with the Python of this project's environment.
"""

from __future__ import annotations

from typing import Any

from .recording import Settings, parse_settings, read_rows, recording


def train(settings: Settings) -> None:
    """Train as the settings say; the record is written."""
    with recording(settings) as record:
        build_trainer(settings, record).train()


def build_trainer(settings: Settings, record: Any) -> Any:
    """The trainer with its model, data and arguments."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForImageTextToText.from_pretrained(settings.model, dtype=torch.float32)
    if settings.mode == "full":
        model.model.visual.requires_grad_(False)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", lora_dropout=0.05)
    return SFTTrainer(
        model=model,
        processing_class=AutoProcessor.from_pretrained(settings.model),
        train_dataset=build_dataset(settings),
        peft_config=lora if settings.mode == "lora" else None,
        args=SFTConfig(
            output_dir=str(settings.scratch),
            use_cpu=not settings.on_gpu,
            bf16=settings.on_gpu,
            max_length=None,
            gradient_checkpointing=settings.on_gpu,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=1,
            num_train_epochs=settings.epochs,
            train_sampling_strategy="sequential",
            learning_rate=1e-4 if settings.mode == "lora" else 1e-5,
            save_strategy="no",
            report_to="none",
            seed=settings.seed,
        ),
        callbacks=[record],
    )


def build_dataset(settings: Settings) -> Any:
    """The rows as conversations with images."""
    from datasets import Dataset, Features, Image, List, Value

    content = [{"type": Value("string"), "text": Value("string")}]
    features = Features({"images": List(Image()), "messages": [{"role": Value("string"), "content": content}]})

    def example(row: dict[str, str]) -> dict[str, object]:
        question = [{"type": "image", "text": None}, {"type": "text", "text": "Text Recognition:"}]
        answer = [{"type": "text", "text": row["text"]}]
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"images": [str(settings.data / row["image"])], "messages": messages}

    return Dataset.from_list([example(row) for row in read_rows(settings)], features=features)


def main() -> None:
    settings, _ = parse_settings(__doc__ or "")
    import torch

    torch.set_num_threads(settings.threads)
    train(settings)


if __name__ == "__main__":
    main()
