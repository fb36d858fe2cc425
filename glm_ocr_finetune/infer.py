"""Reading images with a base model, a tuned one or an adapter."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from .args import InferenceArguments
from .errors import UserError
from .inputs.images import ImageError, read_size
from .inputs.processor import PixelBudget, set_pixel_budget
from .inputs.prompt import PromptRenderer
from .model.loading import load_for_reading
from .reading.asking import how_to_ask
from .reading.generate import Generated, Request, generate_all
from .vision.pixels import read_pixels

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif"})


def find_images(names: list[str]) -> list[Path]:
    """The named images, and those directly inside the named folders in the order of their names."""
    if not names:
        raise UserError("--image is required: an image file or a folder of images")
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise UserError(f"--image {name} is a folder without images ({', '.join(sorted(IMAGE_SUFFIXES))})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"--image {name} does not exist")
    return found


def infer(args: InferenceArguments) -> int:
    """Print the text of each image on standard output; everything else goes to standard error.

    With more than one image, a line ``==> path <==`` comes before each text.

    Returns:
        The exit code: 1 when an image could not be read, else 0.
    """
    if args.max_new_tokens < 1 or (args.batch_size is not None and args.batch_size < 1):
        raise UserError("--max_new_tokens and --batch_size must be at least 1")
    images = find_images(args.image)
    asking = how_to_ask(args.model, args.adapter, args.prompt, args.prompt_format)
    model, processor, _ = load_for_reading(args.model, args.adapter, args.device_map)
    budget = set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, asking.prompt_format)
    sizes = [(path, size) for path in images if (size := _num_tokens(path, budget)) is not None]
    requests = [
        Request(partial(read_pixels, path, renderer), asking.prompt, size, args.max_new_tokens) for path, size in sizes
    ]
    answers = generate_all(model, renderer, requests, args.batch_size, args.repetition_penalty)
    num_read = _print_in_order([path for path, _ in sizes], answers, args.max_new_tokens, many=len(images) > 1)
    return 0 if num_read == len(images) else 1


def _print_in_order(
    paths: Sequence[Path], answers: Iterable[tuple[int, Generated | ImageError]], max_new_tokens: int, many: bool
) -> int:
    """Print the text of each path as soon as it and all before it are read. Returns how many were read."""
    done: dict[int, Generated | ImageError] = {}
    printed = 0
    for position, answer in answers:
        done[position] = answer
        if isinstance(answer, ImageError):
            logger.error("%s: %s", paths[position], answer)
        elif not answer.stopped:
            logger.warning("%s: cut at --max_new_tokens %d", paths[position], max_new_tokens)
        while printed in done:
            ready = done[printed]
            if isinstance(ready, Generated):
                _print(paths[printed], ready.text, many)
            printed += 1
    return sum(isinstance(answer, Generated) for answer in done.values())


def _num_tokens(path: Path, budget: PixelBudget) -> int | None:
    try:
        return budget.num_image_tokens(*read_size(path))
    except ImageError as error:
        logger.error("%s: %s", path, error)
        return None


def _print(path: Path, text: str, many: bool) -> None:
    if many:
        sys.stdout.write(f"==> {path} <==\n")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
