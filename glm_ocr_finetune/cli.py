"""The command ``glm-ocr-finetune``; ``finetune.py`` and ``inference.py`` are its ``train`` and ``infer``."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from .errors import UserError

PROGRAM = "glm-ocr-finetune"


def _train(argv: Sequence[str], prog: str) -> int:
    from .parse import TRAIN_HELP, help_text, parse_train

    if _asks_help(argv):
        epilog = (
            "--config FILE.yaml sets any argument; the command line wins. Every argument of TRL's SFTConfig is "
            "accepted as well: https://huggingface.co/docs/trl/sft_trainer#trl.SFTConfig"
        )
        sys.stdout.write(help_text(prog, TRAIN_HELP, epilog))
        return 0
    model_args, data_args, training_args, given = parse_train(argv, prog)
    if not data_args.dataset_name:
        raise UserError("--dataset_name is required: a hub id, a folder or a file")
    from .train import Interrupted, train

    try:
        train(model_args, data_args, training_args, given)
    except Interrupted as stop:
        sys.stderr.write(f"{stop}\n")
        return 128 + stop.signal_number
    return 0


def _infer(argv: Sequence[str], prog: str) -> int:
    from .args import InferenceArguments
    from .parse import help_text, parse_infer

    if _asks_help(argv):
        sys.stdout.write(help_text(prog, (InferenceArguments,), "The text goes to standard output."))
        return 0
    args = parse_infer(argv, prog)
    from .infer import infer

    return infer(args)


COMMANDS: dict[str, tuple[Callable[[Sequence[str], str], int], str]] = {
    "train": (_train, "fine-tune a model (the same as finetune.py)"),
    "infer": (_infer, "read images (the same as inference.py)"),
}


def _asks_help(argv: Sequence[str]) -> bool:
    return "--help" in argv or "-h" in argv


def _overview() -> str:
    lines = [f"  {name:10} {help}" for name, (_, help) in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...", "", *lines, "", f"{PROGRAM} COMMAND --help tells more.", ""])


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; errors of the user end in one line on standard error and exit code 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0 if argv else 2
    if argv[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(version(PROGRAM) + "\n")
        return 0
    name, *rest = argv
    _quiet_down()
    try:
        if name not in COMMANDS:
            raise UserError(f"unknown command {name!r}; expected one of: {', '.join(COMMANDS)}")
        return COMMANDS[name][0](rest, prog or f"{PROGRAM} {name}")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before training began; nothing was saved\n")
        return 130


def _quiet_down() -> None:
    """Our own messages as plain lines on standard error; no chatter from tokenizers and telemetry."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # peft asks transformers by an old name, which is not the user's to mend
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("glm_ocr_finetune")
    ours.handlers[:] = [handler]
    ours.setLevel(logging.INFO)
    ours.propagate = False
