"""Where this package's messages go: plain lines on standard error, of the main process."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from .ranks import is_main_process

OURS = "glm_ocr_finetune"


class ToStandardError(logging.Handler):
    """Writes to what standard error is at the moment, which a live line of progress stands in for.

    Notebooks show standard error on red, as if all of it were faults; there it is standard output.
    """

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stdout if "ipykernel" in sys.modules else sys.stderr
        stream.write(f"{self.format(record)}\n")
        stream.flush()


def speak() -> None:
    """Show this package's messages on standard error, once, and only those of the main process."""
    handler = ToStandardError()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger(OURS)
    ours.handlers[:] = [handler]
    ours.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    ours.propagate = False


def speak_unless_arranged() -> None:
    """As :func:`speak`, where the program has not decided itself what becomes of messages."""
    if not logging.getLogger(OURS).hasHandlers():
        speak()


def heading(text: str) -> None:
    """What the messages from here on are about, after an empty line."""
    logging.getLogger(OURS).info("\n%s", text)


def quiet_others() -> None:
    """No chatter and no bars of loading from other libraries; downloads show theirs on a terminal only."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # peft asks transformers by an old name, which is not the user's to mend
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # at import it tells of faster kernels to be had
    if not is_main_process():
        warnings.simplefilter("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
