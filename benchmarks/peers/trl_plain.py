"""Plain TRL, as people run it: ``SFTTrainer`` with its own collator for images, and LoRA on all linear layers.

With ``--mode full`` vision tower and projector are frozen by ``requires_grad``, as in the official recipe. Batches
are drawn in the order of the rows. Run with the Python of this project's environment.
"""

from __future__ import annotations

from recording import parse_arguments, read_rows, recorder


def main() -> None:
    args, _ = parse_arguments(__doc__ or "")
    import torch
    from datasets import Dataset, Features, Image, List, Value
    from peft import LoraConfig
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(args.threads)
    record = recorder(args)
    model = AutoModelForImageTextToText.from_pretrained(args.model, dtype=torch.float32)
    if args.mode == "full":
        model.model.visual.requires_grad_(False)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", lora_dropout=0.05)
    content = [{"type": Value("string"), "text": Value("string")}]
    features = Features({"images": List(Image()), "messages": [{"role": Value("string"), "content": content}]})

    def example(row: dict[str, str]) -> dict[str, object]:
        question = [{"type": "image", "text": None}, {"type": "text", "text": "Text Recognition:"}]
        answer = [{"type": "text", "text": row["text"]}]
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"images": [str(args.data / row["image"])], "messages": messages}

    trainer = SFTTrainer(
        model=model,
        processing_class=AutoProcessor.from_pretrained(args.model),
        train_dataset=Dataset.from_list([example(row) for row in read_rows(args)], features=features),
        peft_config=lora if args.mode == "lora" else None,
        args=SFTConfig(
            output_dir=str(args.scratch),
            use_cpu=True,
            bf16=False,
            max_length=None,
            gradient_checkpointing=False,
            per_device_train_batch_size=args.batch_size,
            gradient_accumulation_steps=1,
            num_train_epochs=args.epochs,
            train_sampling_strategy="sequential",
            learning_rate=1e-4 if args.mode == "lora" else 1e-5,
            save_strategy="no",
            report_to="none",
            seed=args.seed,
        ),
        callbacks=[record],
    )
    trainer.train()


if __name__ == "__main__":
    main()
