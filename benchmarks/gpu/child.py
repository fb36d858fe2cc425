"""The process that runs some cases, one after another, and dies with the first that fails.

    python -m benchmarks.gpu.child FOLDER EVENTS SECTION CASE [SECTION CASE ...]

It writes an event as JSON to EVENTS when a case begins and when it ends. When it crashes or is sent SIGUSR1, it prints
where it is.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .cases import Place
from .sections import SECTIONS


def main() -> None:
    faulthandler.enable(all_threads=False)
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    folder, events, *names = sys.argv[1:]
    cases = list(zip(names[::2], names[1::2], strict=True))
    place = Place.read(Path(folder))
    if any(section != "setup" for section, _ in cases):
        import glm_ocr_finetune.train  # noqa: F401  # what every case needs is no part of its time
    with Path(events).open("a", encoding="utf-8") as handle:
        for section, name in cases:
            tell(handle, event="begin", at=time.time())
            started = time.monotonic()
            result = SECTIONS[section][name].run(place)
            tell(handle, event="end", seconds=time.monotonic() - started, result=asdict(result))
            free_memory()


def tell(handle: Any, **event: Any) -> None:
    handle.write(json.dumps(event) + "\n")
    handle.flush()


def free_memory() -> None:
    """Nothing of a case is left on the GPU for the next."""
    import torch

    gc.collect()
    with contextlib.suppress(AttributeError):
        torch.clear_autocast_cache()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
