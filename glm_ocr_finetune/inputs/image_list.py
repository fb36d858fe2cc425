"""Pairs of image and text from a Python program, written down as a data set that the readers know."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ..errors import UserError

if TYPE_CHECKING:
    AnyPicture = str | os.PathLike[str] | Image.Image
    Sample = tuple[AnyPicture, str]

FOLDER = "samples"  # with a digest of what is in it behind it


@dataclass(frozen=True)
class Written:
    """Where pairs were written.

    Attributes:
        folder: with ``train.jsonl`` and maybe ``validation.jsonl``.
        image_folder: the folder that all images given by their path are in; None where there are no such.
    """

    folder: Path
    image_folder: str | None


def write_samples(train: Iterable[Sample], validation: Iterable[Sample] | None, output: Path) -> Written:
    """Write pairs into a folder of ``output`` that is named by its contents: the same pairs give the same folder.

    Images given by their path stay where they are, others become PNG files.

    Raises:
        UserError: there are no pairs, or one is none: its number is named.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix="_samples-") as temporary:
        staging = Path(temporary)
        paths = _write_split(train, "train", staging)
        if validation is not None:
            paths |= _write_split(validation, "validation", staging)
        digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(staging.glob("*.jsonl"))))
        folder = output / f"{FOLDER}-{digest.hexdigest()[:8]}"
        if not folder.is_dir():
            shutil.copytree(staging, folder)
    return Written(folder.absolute(), os.path.commonpath({os.path.dirname(path) for path in paths}) if paths else None)


def _write_split(pairs: Iterable[Sample], split: str, folder: Path) -> set[str]:
    """Write the pairs of one split; the paths of the images that stay where they are."""
    paths: set[str] = set()
    lines = []
    for number, pair in enumerate(pairs):
        image, text = _checked(pair, f"{split} sample {number}")
        if isinstance(image, Image.Image):
            name = _write_image(image, folder)
        else:
            name = os.path.abspath(os.path.expanduser(os.fspath(image)))
            paths.add(name)
            if not os.path.isfile(name):
                raise UserError(f"{split} sample {number}: there is no image {os.fspath(image)}")
        lines.append(json.dumps({"image": name, "text": text}, ensure_ascii=False) + "\n")
    if not lines:
        raise UserError(f"there are no {split} samples; expected pairs of an image and its text")
    (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return paths


def _checked(pair: Any, name: str) -> Sample:
    """A pair as it should be. Raises UserError for anything else."""
    if isinstance(pair, Mapping) or not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise UserError(f"{name} is {_shown(pair)}; expected a pair of an image and its text")
    image, text = pair
    if not isinstance(image, (str, os.PathLike, Image.Image)):
        raise UserError(f"{name}: the image is {_shown(image)}; expected a path or a PIL image")
    if not isinstance(text, str):
        raise UserError(f"{name}: the text is {_shown(text)}; expected a string")
    return image, text


def _shown(value: Any) -> str:
    return f"{str(value)[:40]!r} ({type(value).__name__})"


def _write_image(image: Image.Image, folder: Path) -> str:
    """Write a PNG named by its pixels; its name within the folder."""
    image = image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")
    digest = hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()[:32]
    name = f"images/{digest}.png"
    (folder / "images").mkdir(exist_ok=True)
    if not (folder / name).is_file():
        image.save(folder / name)
    return name
