"""The command ``glm-ocr-finetune``; ``finetune.py`` and ``inference.py`` are its ``train`` and ``infer``."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from .args import InferenceArguments
from .command_args import (
    DemoArguments,
    DoctorArguments,
    EvaluateArguments,
    ExportArguments,
    MtpArguments,
    ReportArguments,
)
from .errors import UserError
from .messages import quiet_others, speak
from .ranks import have_joined, is_main_process

PROGRAM = "glm-ocr-finetune"
Command = Callable[[Sequence[str], str], int]

CONFIG = "--config FILE.yaml sets any argument; the command line wins."


def _train(argv: Sequence[str], prog: str) -> int:
    from .parse import TRAIN, build_train, help_text, read_train

    if _asks_help(argv):
        epilog = (
            f"{CONFIG} The arguments of TRL's SFTConfig work as well; "
            "docs/sft-arguments.md says what each does here, and which are refused and why."
        )
        sys.stdout.write(help_text(prog, TRAIN, epilog))
        return 0
    typed = read_train(argv, prog, _arguments_of_others("train"))
    _check_data_sets(typed.values, ("dataset_name", "probe_dataset", "replay_dataset"))
    if not typed.values.get("dataset_name"):
        raise UserError("--dataset_name is required: a hub id, a folder or a file")
    arguments = build_train(typed)
    from .train import Interrupted, train

    try:
        train(*arguments)
    except Interrupted as stop:
        if is_main_process():
            sys.stderr.write(f"{stop}\n")
        return stop.exit_code
    return 0


def _light(declared: type, workflow: str, epilog: str) -> Command:
    """A command whose arguments are one dataclass, handed to ``workflow`` ("module.function")."""

    def command(argv: Sequence[str], prog: str) -> int:
        from .parse import help_text, parse_light

        module, function = workflow.split(".")
        if _asks_help(argv):
            sys.stdout.write(help_text(prog, (declared,), f"{epilog} {CONFIG}" if fields(declared) else epilog))
            return 0
        args: object = parse_light(argv, declared, prog, _arguments_of_others(module))
        _check_data_sets(vars(args), ("dataset_name",))
        code: int = getattr(importlib.import_module(f".{module}", __package__), function)(args)
        return code

    return command


def _arguments_of_others(command: str) -> dict[str, list[str]]:
    """The commands other than this one, and the names of their arguments."""
    from .parse import TRAIN

    declared: dict[str, tuple[type, ...]] = {"train": TRAIN} | {name: (one,) for name, one in LIGHT.items()}
    return {
        name: [one.name for cls in classes for one in fields(cls)]
        for name, classes in declared.items()
        if name != command
    }


def _check_data_sets(values: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise UserError for a data set that is nowhere, before anything heavy is imported."""
    for name in names:
        if values.get(name):
            from .data_sets import names_of
            from .readers import check_data_set

            for one in names_of(values[name]):
                check_data_set(one, flag=name)


LIGHT: dict[str, type] = {
    "infer": InferenceArguments,
    "evaluate": EvaluateArguments,
    "export": ExportArguments,
    "report": ReportArguments,
    "mtp": MtpArguments,
    "demo": DemoArguments,
    "doctor": DoctorArguments,
}

COMMANDS: dict[str, tuple[Command, str]] = {
    "train": (_train, "fine-tune a model (the same as finetune.py)"),
    "infer": (
        _light(LIGHT["infer"], "infer.infer", "The text goes to standard output, messages to standard error."),
        "read images (the same as inference.py)",
    ),
    "evaluate": (
        _light(LIGHT["evaluate"], "evaluate.evaluate", "Scores go to standard output and to scores.json."),
        "score a model, or the output of another OCR system",
    ),
    "export": (
        _light(LIGHT["export"], "export.export", "The command that serves the export goes to standard output."),
        "write a tuned model as an engine loads it, proven by reading with the files",
    ),
    "report": (
        _light(LIGHT["report"], "report.report", "One file, which opens in a browser without a network."),
        "make one HTML file of a run: scores, curves, confusions, the worst samples",
    ),
    "mtp": (
        _light(LIGHT["mtp"], "mtp.mtp", "Nothing but the layer changes; it takes minutes."),
        "train the multi-token-prediction layer of a tuned model again, so that servers draft well",
    ),
    "demo": (
        _light(LIGHT["demo"], "demo.demo", "Takes a few minutes on two cores, without a network."),
        "fine-tune the tiny model on handwriting it cannot read, and show the difference",
    ),
    "doctor": (
        _light(LIGHT["doctor"], "doctor.doctor", "Exit code 1 when something that is needed is broken."),
        "look at the installation, say what is broken and what mends it; for bug reports",
    ),
}


def _asks_help(argv: Sequence[str]) -> bool:
    return "--help" in argv or "-h" in argv


def _overview() -> str:
    lines = [f"  {name:10} {help}" for name, (_, help) in COMMANDS.items()]
    return "\n".join([f"usage: {PROGRAM} COMMAND ...", "", *lines, "", f"For details: {PROGRAM} COMMAND --help", ""])


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
    quiet_others()
    speak()
    try:
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            meant = f"did you mean {close[0]}?" if close else f"expected one of: {', '.join(COMMANDS)}"
            raise UserError(f"unknown command {name!r}; {meant}")
        return COMMANDS[name][0](rest, prog or f"{PROGRAM} {name}")
    except UserError as error:
        _tell(error)
        return 2
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        _tell(
            UserError(f"too long for the name of a file or folder: {os.path.basename(str(error.filename))[:60]!r}...")
        )
        return 2
    except KeyboardInterrupt as stop:
        if is_main_process():
            sys.stderr.write(f"{stop or 'interrupted; nothing was saved'}\n")
        return 130


def _tell(error: UserError) -> None:
    """One line on standard error: from the main process, or from the one that is alone in its trouble."""
    if is_main_process():
        sys.stderr.write(f"error: {error}\n")
    elif "torch" in sys.modules and have_joined():
        sys.stderr.write(f"error on rank {os.environ['RANK']}: {error}\n")
