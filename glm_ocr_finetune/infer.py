"""Reading images with a base model, a tuned one or an adapter."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .args import InferenceArguments
from .errors import UserError
from .inputs.images import ImageError, image_suffixes, num_animation_frames, open_upright, page_sizes
from .inputs.processor import PixelBudget, set_pixel_budget
from .inputs.prompt import PromptRenderer
from .model.loading import load_for_reading
from .reading.asking import how_to_ask
from .reading.generate import Generated, Request, generate_all
from .reading.speculative import speculation_for
from .vision.pixels import Pixels, image_to_pixels

logger = logging.getLogger(__name__)


def find_images(names: list[str]) -> list[Path]:
    """The named images, and those directly inside the named folders in the order of their names."""
    if not names:
        raise UserError("--image is required: an image file or a folder of images")
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found += images_inside(path)
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"--image {name} does not exist")
    return found


def images_inside(folder: Path) -> list[Path]:
    """The images directly inside a folder; what else lies there is counted in one line."""
    suffixes = image_suffixes()
    entries = sorted(folder.iterdir())
    images = [entry for entry in entries if _kind(entry) in suffixes]
    counts = Counter(map(_kind, entries)) - Counter(map(_kind, images))
    left_out = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    if not images:
        raise UserError(f"--image {folder} is a folder without images; found: {left_out or 'nothing'}")
    if counts:
        logger.warning("%s: %d images; left out: %s", folder, len(images), left_out)
    return images


def _kind(entry: Path) -> str:
    """What an entry is counted as: its suffix, unless it is hidden (as the ._ files of macOS are) or a folder."""
    if entry.name.startswith("."):
        return "hidden"
    return "folder" if entry.is_dir() else entry.suffix.lower() or "without a suffix"


@dataclass(frozen=True)
class Page:
    """One picture to read: frame ``frame`` of a file, ``name`` in messages and headers."""

    path: Path
    frame: int
    name: str
    num_tokens: int

    def pixels(self, renderer: PromptRenderer) -> Pixels:
        image = open_upright(self.path, self.frame)
        return image_to_pixels(image, renderer.processor, PixelBudget.of(renderer.processor))


def pages_of(path: Path, budget: PixelBudget) -> list[Page]:
    """The pages of a file: all of a TIFF, the first frame of anything else, none (which is said) when it is damaged."""
    try:
        sizes = page_sizes(path)
        frames = num_animation_frames(path)
        numbered = len(sizes) > 1
        pages = [
            Page(path, frame, f"{path} page {number}" if numbered else str(path), budget.num_image_tokens(*size))
            for number, (frame, size) in enumerate(sizes.items(), start=1)
        ]
    except ImageError as error:
        logger.error("%s", error if str(path) in str(error) else f"{path}: {error}")
        return []
    if frames > 1:
        logger.warning("%s: an animation; the first of its %d frames is read", path, frames)
    return pages


def infer(args: InferenceArguments) -> int:
    """Print the text of each image on standard output; everything else goes to standard error.

    With more than one image, a line ``==> path <==`` comes before each text, with ``path page N`` for each page of a
    TIFF that has several.

    Returns:
        The exit code: 1 when an image could not be read, else 0.
    """
    if args.max_new_tokens < 1 or (args.batch_size is not None and args.batch_size < 1):
        raise UserError("--max_new_tokens and --batch_size must be at least 1")
    images = find_images(args.image)
    if args.task == "json":
        raise UserError("--task json has no fields to ask for here; name them in --prompt, as the model card shows")
    asking = how_to_ask(args.model, args.adapter, args.asked_prompt, args.prompt_format)
    model, processor, _ = load_for_reading(args.model, args.adapter, args.device_map)
    budget = set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, asking.prompt_format)
    pages = [pages_of(path, budget) for path in images]
    flat = [page for of_a_file in pages for page in of_a_file]
    requests = [
        Request(partial(page.pixels, renderer), asking.prompt, page.num_tokens, args.max_new_tokens) for page in flat
    ]
    speculation = speculation_for(model, args.model, args.adapter) if args.speculative else None
    answers = generate_all(model, renderer, requests, args.batch_size, args.repetition_penalty, speculation=speculation)
    many = len(images) > 1 or len(flat) > 1
    num_read = _print_in_order([page.name for page in flat], answers, args.max_new_tokens, many)
    if speculation:
        logger.info("%s", speculation)
    return 0 if num_read == len(flat) and all(pages) else 1


def _print_in_order(
    names: Sequence[str], answers: Iterable[tuple[int, Generated | ImageError]], max_new_tokens: int, many: bool
) -> int:
    """Print the text of each name as soon as it and all before it are read. Returns how many were read."""
    done: dict[int, Generated | ImageError] = {}
    printed = 0
    for position, answer in answers:
        done[position] = answer
        if isinstance(answer, ImageError):
            logger.error("%s: %s", names[position], answer)
        elif not answer.stopped:
            logger.warning("%s: cut at --max_new_tokens %d", names[position], max_new_tokens)
        while printed in done:
            ready = done[printed]
            if isinstance(ready, Generated):
                _print(names[printed], ready.text, many)
            printed += 1
    return sum(isinstance(answer, Generated) for answer in done.values())


def _print(name: str, text: str, many: bool) -> None:
    if many:
        sys.stdout.write(f"==> {name} <==\n")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
