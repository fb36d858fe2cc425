"""llama.cpp's converter, which is not ours: run where its source folder is known, else said how to run it."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

from ..errors import UserError
from .engines import gguf_files

logger = logging.getLogger(__name__)

CONVERTER = "convert_hf_to_gguf.py"
VARIABLE = "LLAMA_CPP"


def find_converter(llama_cpp: str | None) -> Path | None:
    """The converter in ``--llama_cpp`` or ``$LLAMA_CPP``; None where neither is given.

    Raises:
        UserError: the folder that is given holds none.
    """
    folder, origin = (llama_cpp, "--llama_cpp") if llama_cpp else (os.environ.get(VARIABLE), f"${VARIABLE}")
    if not folder:
        return None
    converter = Path(folder) / CONVERTER
    if not converter.is_file():
        raise UserError(f"{origin} {folder} holds no {CONVERTER}; name the source folder of llama.cpp")
    return converter


def conversions(converter: Path | str, directory: Path) -> list[list[str]]:
    """The two commands: the language model, then the vision tower."""
    text, image = gguf_files(directory)
    program = [sys.executable, str(converter), str(directory), "--outtype", "bf16"]
    return [[*program, "--outfile", str(text)], [*program, "--mmproj", "--outfile", str(image)]]


def convert(converter: Path, directory: Path) -> None:
    """Write both GGUF files. Raises UserError with the converter's last line when it fails."""
    for command in conversions(converter, directory):
        logger.info("running %s", shlex.join(command[1:]))
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
        if done.returncode:
            last = next(iter(reversed(done.stderr.strip().splitlines())), f"exit code {done.returncode}")
            raise UserError(f"{CONVERTER} failed: {last}; the files it was to convert are in {directory}")


def to_type(directory: Path) -> str:
    """What to type where the converter is not here."""
    folder = "path/to/llama.cpp"
    return "\n".join(
        shlex.join(["python", *command[1:]]) for command in conversions(f"{folder}/{CONVERTER}", directory)
    )
