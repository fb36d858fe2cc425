"""The main job in a few minutes: a base that cannot read some lines, tuned on others like them."""

from __future__ import annotations

import time
from pathlib import Path

from rich.table import Table

from .args import DataArguments, InferenceArguments, ModelArguments
from .command_args import DemoArguments
from .folders import BASE_READINGS, TUNED_READINGS, readings_file
from .infer import infer
from .metrics import Scores, read_predictions, score
from .ranks import console
from .report import build_report
from .train import train
from .training_args import TrainingArguments

DATA = Path(__file__).parent / "assets" / "demo"
SHOWN = 3


def demo(args: DemoArguments) -> int:
    """Tune the tiny model on the lines that come with the package, and show what it reads before and after.

    Returns:
        The exit code.
    """
    out = console()
    output = Path(args.output_dir)
    started = time.monotonic()
    train(
        ModelArguments(model_name="tiny", use_lora=args.use_lora, load_in_4bit=args.load_in_4bit, lora_rank=32),
        DataArguments(dataset_name=str(DATA), train_split="train", eval_split="test"),
        training_arguments(args),
    )
    seconds = time.monotonic() - started
    before, after = (read_back(output, name) for name in (BASE_READINGS, TUNED_READINGS))
    out.print(side_by_side(before, after))
    out.print(
        f"{len(after.samples)} held-out lines: CER {before.values['corpus_cer']:.3f} -> "
        f"{after.values['corpus_cer']:.3f}, stop rate {after.values['stop_rate']:.0%}, in {seconds:.0f} s "
        f"({before.settings})"
    )
    image = str(after.samples[0].reading.image)
    out.print(f"Report with every line, its image and both readings: {build_report(output)}")
    out.print(f"The tuned model is in {output}. Read with it:")
    out.print(f"  glm-ocr-finetune infer --model {output} --image {image}")
    return infer(InferenceArguments(model=str(output), image=[image]))


def training_arguments(args: DemoArguments) -> TrainingArguments:
    """The recipe of the demo, found by trial on the tiny model; it is none for the real checkpoint."""
    return TrainingArguments(
        output_dir=args.output_dir,
        overwrite_output_dir=args.output_dir == DemoArguments().output_dir,  # what the demo left there before
        num_train_epochs=8,
        learning_rate=3e-3 if args.use_lora else 1e-3,
        per_device_train_batch_size=8,
        per_device_eval_batch_size=25,
        gradient_accumulation_steps=1,
        eval_steps=200,
        save_steps=200,
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        seed=args.seed,
    )


def read_back(output: Path, name: str) -> Scores:
    """The scores of a reading that the run made."""
    return score(read_predictions(readings_file(output, name)).readings)


def side_by_side(before: Scores, after: Scores) -> Table:
    """Truth and both readings of a few lines."""
    table = Table("image", "truth", "base reads", "tuned reads", title="Three held-out lines", title_justify="left")
    for old, new in list(zip(before.samples, after.samples, strict=True))[:SHOWN]:
        name = Path(str(new.reading.image)).name
        table.add_row(name, new.reading.truth, old.reading.prediction, new.reading.prediction)
    return table
