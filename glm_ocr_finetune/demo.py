"""The main job in a few minutes: a base that cannot read some lines, tuned on others like them."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .args import DataArguments, DemoArguments, ModelArguments
from .data import load_splits
from .evaluate import read_samples, write_predictions
from .metrics import Reading, Scores, score
from .model import load_for_reading
from .prompt import PromptRenderer
from .train import train
from .training_args import TrainingArguments

DATA = Path(__file__).parent / "assets" / "demo"
SHOWN = 3
BATCH_SIZE = 16


def demo(args: DemoArguments) -> int:
    """Read the held-out lines with the base, train on the others, read again, and show both. Returns the exit code."""
    console = Console(highlight=False, soft_wrap=True)
    output = Path(args.output_dir)
    before = read_held_out("tiny", output / "evaluation" / "base.jsonl")
    console.print(f"The base reads {len(before.samples)} held-out lines: CER {before.values['corpus_cer']:.3f}")
    started = time.monotonic()
    train(
        ModelArguments(model_name="tiny", use_lora=args.use_lora, load_in_4bit=args.load_in_4bit, lora_rank=32),
        DataArguments(dataset_name=str(DATA), train_split="train", eval_split="test"),
        training_arguments(args),
    )
    seconds = time.monotonic() - started
    after = read_held_out(str(output), output / "evaluation" / "tuned.jsonl")
    console.print(side_by_side(before, after))
    console.print(f"{before.settings}")
    console.print(
        f"Held-out CER {before.values['corpus_cer']:.3f} -> {after.values['corpus_cer']:.3f}, "
        f"stop rate {after.values['stop_rate']:.0%}, trained in {seconds:.0f} s"
    )
    console.print(f"The tuned model is in {output}, all readings in {output / 'evaluation'}. Read with it:")
    image = sorted((DATA / "images").iterdir())[0]
    console.print(f"  glm-ocr-finetune infer --model {output} --image {image}")
    return 0


def training_arguments(args: DemoArguments) -> TrainingArguments:
    """The recipe of the demo; found by trial on the tiny model, not one for the real checkpoint."""
    return TrainingArguments(
        output_dir=args.output_dir,
        num_train_epochs=12,
        learning_rate=2e-3 if args.use_lora else 1e-3,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        eval_strategy="epoch",
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        seed=args.seed,
    )


def read_held_out(model_name: str, file: Path) -> Scores:
    """Read the held-out lines with a model, keep the readings in ``file``, and score them."""
    model, processor, prompt_format = load_for_reading(model_name)
    renderer = PromptRenderer(processor, prompt_format)
    data_args = DataArguments(dataset_name=str(DATA), train_split="test")
    samples = load_splits(data_args, renderer, max_length=None, seed=0, evaluate=False)
    readings = read_samples(model, renderer, samples.train, samples.train_tokens.tolist(), BATCH_SIZE)
    write_predictions(readings, file)
    return score(readings)


def side_by_side(before: Scores, after: Scores) -> Table:
    """Truth and both readings of a few lines."""
    table = Table("image", "truth", "base reads", "tuned reads", title="Three held-out lines", title_justify="left")
    for old, new in list(zip(before.samples, after.samples, strict=True))[:SHOWN]:
        reading: Reading = new.reading
        table.add_row(Path(reading.image or "").name, reading.truth, old.reading.prediction, reading.prediction)
    return table
