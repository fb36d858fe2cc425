"""Reading images with a base model, a tuned one or an adapter."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from .args import InferenceArguments
from .errors import UserError
from .generate import generate_all
from .images import ImageError, read_size
from .model import load_for_reading
from .processor import PixelBudget, set_pixel_budget
from .prompt import PromptRenderer

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
    if args.max_new_tokens < 1 or args.batch_size < 1:
        raise UserError("--max_new_tokens and --batch_size must be at least 1")
    images = find_images(args.image)
    model, processor, tuned_format = load_for_reading(args.model, args.adapter, args.device_map)
    budget = set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, args.prompt_format or tuned_format)
    readable = [path for path in images if _num_tokens(path, budget) is not None]
    texts: dict[Path, str] = {}
    printed = 0
    order = sorted(range(len(readable)), key=lambda i: -(_num_tokens(readable[i], budget) or 0))
    answers = generate_all(
        model,
        renderer,
        readable,
        [args.prompt] * len(readable),
        args.batch_size,
        args.max_new_tokens,
        args.repetition_penalty,
        order,
    )
    for position, answer in answers:
        texts[readable[position]] = answer.text
        if not answer.stopped:
            logger.warning("%s: cut at --max_new_tokens %d", readable[position], args.max_new_tokens)
        while printed < len(readable) and readable[printed] in texts:
            _print(readable[printed], texts[readable[printed]], many=len(images) > 1)
            printed += 1
    return 0 if len(readable) == len(images) else 1


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
