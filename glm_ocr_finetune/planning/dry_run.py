"""``--dry_run True``: everything a run would use, shown before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..data.collate import VLMDataCollator
from ..data.splits import Splits
from ..errors import UserError
from ..folders import CONTACT_SHEET_FILE
from ..inputs.prompt import IGNORED
from ..model.parts import count_parts
from ..ranks import console, is_main_process
from ..report.contact_sheet import write_contact_sheet

if TYPE_CHECKING:
    import torch

    from ..training_args import TrainingArguments

SHOWN_SAMPLES = 2
BAR = 40  # characters of the longest bar


def show(model: Any, splits: Splits, collator: VLMDataCollator, training_args: TrainingArguments) -> None:
    """Print the table of parts, the lengths and one real batch on standard output.

    Raises:
        UserError: a batch has no trained token.
    """
    out = console()
    out.print(parts_table(model))
    show_samples(out, splits, training_args.max_length)
    size = min(training_args.per_device_train_batch_size, len(splits.train))
    batch = collator([splits.train[index] for index in range(size)])
    show_batch(out, batch, collator, training_args.padding_free)
    if not bool((batch["labels"] != IGNORED).any()):
        raise UserError("no image of the first batch can be read; each is named above")
    if not bool((batch["labels"] != IGNORED).any(dim=1).all()):
        raise UserError("a sample of the first batch has no trained token; its label is empty after cleaning")
    sheet = Path(training_args.output_dir) / CONTACT_SHEET_FILE
    if is_main_process():
        count = write_contact_sheet(splits.train, splits.train_image_tokens, sheet)
        out.print(f"{count} samples with their labels, to look at: {sheet}")
    out.print("dry run finished: the first batch is fine; nothing was trained")


def parts_table(model: Any) -> Table:
    """Parameters, trainable ones and adapter rank of each part of the model."""
    table = Table("part", title="What is trained", title_justify="left")
    for column in ("parameters", "trainable", "adapter rank"):
        table.add_column(column, justify="right")
    parts = count_parts(model)
    for part in parts:
        state = f"{part.trainable:,}" if part.trainable else "frozen"
        table.add_row(part.name, f"{part.parameters:,}", state, str(part.rank or "-"))
    total, trainable = sum(p.parameters for p in parts), sum(p.trainable for p in parts)
    table.add_row("all", f"{total:,}", f"{trainable:,} ({trainable / total:.1%})", "", style="bold")
    return table


def show_samples(out: Console, splits: Splits, max_length: int | None) -> None:
    """Counts, the histogram of sequence lengths, and what is shrunk or set aside."""
    lengths = np.concatenate([splits.train_tokens, splits.evaluation_tokens])
    held_out = len(splits.evaluation) if splits.evaluation is not None else 0
    out.print(f"\n{len(splits.train)} samples to train on, {held_out} to evaluate on{splits.groups_in_words()}")
    for note in splits.notes:
        out.print(note)
    out.print(f"Sequence length in tokens (image + prompt + answer + stop), --max_length {max_length}:")
    counts, edges = np.histogram(lengths, bins=min(10, len(set(lengths.tolist()))))
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        bar = "█" * round(BAR * count / counts.max())
        out.print(f"  {low:6.0f} to {high:6.0f}  {count:7d}  {bar}")
    if splits.fitted.num_lowered:
        lowered = splits.fitted.budget.max_pixels
        out.print(
            f"images made smaller by max_pixels {lowered}, in training and in what is saved: {splits.fitted.num_lowered}"
        )
    aside = ", ".join(f"{count} {reason}" for reason, count in splits.set_aside_by_reason().items())
    out.print(f"rows set aside: {aside or 'none'}")
    for row in splits.set_aside[:5]:
        out.print(f"  {row.source}: {row.reason} {row.detail}".rstrip())


def show_batch(out: Console, batch: dict[str, torch.Tensor], collator: VLMDataCollator, padding_free: bool) -> None:
    """The first samples token by token: masked ones dim, trained ones green; a light bar between tokens."""
    out.print("\nFirst batch, token by token:")
    for ids, labels, mask in list(
        zip(batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist(), strict=True)
    )[:SHOWN_SAMPLES]:
        length = sum(mask)
        masked = [token for token, label in zip(ids[:length], labels, strict=False) if label == IGNORED]
        trained = [label for label in labels[:length] if label != IGNORED]
        out.print(Text("  masked  ", "dim") + _spell(masked, collator, "dim"))
        out.print(Text("  trained ", "bold green") + _spell(trained, collator, "bold green"))
    rows, width = batch["input_ids"].shape
    trained_count = int((batch["labels"] != IGNORED).sum())
    padding = int((batch["attention_mask"] == 0).sum())
    if padding_free:
        tokens = rows * width - padding
        out.print(f"{rows} samples in one row of {tokens} tokens: {trained_count} trained, no padding")
    else:
        out.print(f"{rows} x {width} tokens: {trained_count} trained, {padding} padding")


def visible(text: str) -> str:
    """The text with its line ends as ⏎, and as an escape whatever a terminal would not print, or would obey."""
    ends = text.replace("\n", "⏎")
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in ends)


def _spell(ids: list[int], collator: VLMDataCollator, style: str) -> Text:
    """The tokens as text, runs of image tokens counted instead of repeated."""
    tokenizer, image = collator.renderer.tokenizer, collator.renderer.image_token_id
    spelt = Text()
    index = 0
    while index < len(ids):
        run = 1
        while ids[index] == image and index + run < len(ids) and ids[index + run] == image:
            run += 1
        name = visible(tokenizer.decode([ids[index]]))
        spelt.append(f"{name} x {run}" if ids[index] == image else name, style)
        spelt.append("│", "grey50")
        index += run
    return spelt
