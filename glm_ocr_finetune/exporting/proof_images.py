"""The images an export is proven with: of a data set, of the run's evaluation, or lines drawn here."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

from ..args import DEFAULT_PROMPT, DataArguments
from ..command_args import ExportArguments
from ..data.samples import sample_of
from ..data.splits import load_splits
from ..folders import EVALUATION_FOLDER, TUNED_READINGS, readings_file
from ..inputs.images import AnyImage, ImageError, read_size
from ..inputs.prompt import PromptRenderer
from ..metrics import Reading, read_predictions
from ..readers.rows import counted
from .source import Source

logger = logging.getLogger(__name__)

T = TypeVar("T")

DRAWN = (  # text, size of the letters in pixels
    *(("Ledger No. 217", 28), ("Received of Mr. Harlan £4 12s. 6d.", 40), ("fol. 9v", 16)),
    *(("12 March 1874, wind south-west", 24), ("Rosina & Anna Keller", 64), ("9 381,50", 20)),
    *(("The parish of St. Mary, in the year of our Lord", 32), ("Übertrag  1 204", 48)),
)
LARGEST_DRAWN = 600_000  # pixels: above the budget of a run that lowered it, and quickly read


@dataclass(frozen=True)
class ProofImage:
    """An image to read; ``truth`` is its transcription where it is known."""

    name: str
    image: AnyImage
    prompt: str
    truth: str | None = None


def choose_images(source: Source, args: ExportArguments, renderer: PromptRenderer) -> tuple[list[ProofImage], str]:
    """``--prove`` images of as many sizes as there are, and where they come from, in words."""
    if not args.prove:
        return [], "no image"
    if args.dataset_name:
        found = of_data_set(args, source.sidecar.prompt, renderer)
        return _as_many(spread(found, args.prove), args.prove), f"of {args.data_sets}"
    if source.run and (found := of_run(source.run)):
        return _as_many(spread(found, args.prove), args.prove), f"of the evaluation of {source.run.resolve().name}"
    return drawn(args.prove, source.sidecar.prompt), "lines drawn for the purpose"


def _as_many(images: list[ProofImage], wanted: int) -> list[ProofImage]:
    """The images; said where they are fewer than ``--prove`` asks for."""
    if len(images) < wanted:
        logger.warning("--prove %d: there are only %s, and all are read", wanted, counted(len(images), "image"))
    return images


def of_data_set(args: ExportArguments, prompt: str, renderer: PromptRenderer) -> list[ProofImage]:
    """The samples of ``--dataset_name``."""
    data_args = DataArguments.of(args, train_split=args.split, prompt=prompt)
    samples = load_splits(data_args, renderer, max_length=None, seed=0, evaluate=False).train
    return [ProofImage(one.source, one.image, one.prompt, one.text) for one in map(sample_of, samples)]


def of_run(run: Path) -> list[ProofImage]:
    """What the run's last model was judged on, as far as the image files are still there."""
    files = sorted((run / EVALUATION_FOLDER).glob("*.jsonl"), key=lambda file: file.stat().st_mtime)
    last = readings_file(run, TUNED_READINGS)
    file = last if last.is_file() else next(iter(reversed(files)), None)
    readings = read_predictions(str(file)).readings if file else ()
    return [_of_reading(one) for one in readings if one.image and Path(one.image).is_file()]


def _of_reading(reading: Reading) -> ProofImage:
    region = json.loads(json.dumps(reading.region)) if reading.region else None
    image: AnyImage = {"path": reading.image, "region": region} if region else {"path": reading.image}
    return ProofImage(reading.id, image, reading.prompt or DEFAULT_PROMPT, reading.truth)


def spread(images: Sequence[ProofImage], count: int) -> list[ProofImage]:
    """``count`` of the images: the smallest, the largest, and evenly between them by size. Unreadable ones are left out."""
    sized = sorted(((size, index) for index, one in enumerate(images) if (size := _pixels(one))))
    return [images[index] for _, index in evenly(sized, count)]


def _pixels(one: ProofImage) -> int:
    try:
        height, width = read_size(one.image)
    except ImageError:
        return 0
    return height * width


def evenly(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, count - 1))] for index in range(count)]


def drawn(count: int, prompt: str) -> list[ProofImage]:
    """Lines of different length and size, black on white; the last is larger than what most runs read at."""
    lines = [draw_line(text, size) for text, size in itertools.islice(itertools.cycle(DRAWN), count)]
    if lines:
        side = (LARGEST_DRAWN // 2) ** 0.5
        lines[-1] = lines[-1].resize((round(2 * side), round(side)))
    return [ProofImage(f"drawn line {number}", line, prompt) for number, line in enumerate(lines, 1)]


def draw_line(text: str, size: int) -> Image.Image:
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("RGB", (int(right) + size, int(bottom - top) + size), "white")
    ImageDraw.Draw(image).text((size // 2 - left, size // 2 - top), text, fill="black", font=font)
    return image
