"""From the command line and ``--config`` to the argument dataclasses, and what was given by whom."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import logging
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .args import DataArguments, ModelArguments, TrainingDefaults, default_of
from .errors import UserError

logger = logging.getLogger(__name__)

T = typing.TypeVar("T")


@dataclass(frozen=True)
class Given:
    """Names of the arguments given on the command line, and in the configuration file."""

    command_line: frozenset[str]
    config: frozenset[str]

    def origin(self, name: str) -> str | None:
        """Who gave ``name``; None when nobody did."""
        if name in self.command_line:
            return "command line"
        return "configuration file" if name in self.config else None


NOTHING_GIVEN = Given(frozenset(), frozenset())


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors in one line."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message}; see: {self.prog} --help")


def help_text(prog: str, dataclasses: Sequence[type], epilog: str) -> str:
    """The help of a command, made from its dataclasses without importing torch."""
    parser = argparse.ArgumentParser(prog=prog, epilog=epilog, add_help=False)
    for declared in dataclasses:
        group = parser.add_argument_group((declared.__doc__ or declared.__name__).splitlines()[0].rstrip("."))
        for one in fields(declared):
            metadata = dict(one.metadata)
            default = default_of(one)
            shown = "" if default in (None, []) or "Default" in metadata["help"] else f" Default: {default}."
            group.add_argument(
                f"--{one.name}", metavar=_metavar(one), help=(metadata["help"] + shown).replace("%", "%%")
            )
    return parser.format_help()


def _metavar(one: Any) -> str:
    if choices := one.metadata.get("choices"):
        return "{" + ",".join(choices) + "}"
    if "const" in one.metadata:
        return "[SIZE]"
    kind = str(one.type).replace(" | None", "")
    return {"bool": "True|False", "int": "N", "float": "X", "list[str]": "PATH"}.get(kind, "TEXT")


def parse(
    argv: Sequence[str], dataclasses: Sequence[type], prog: str, required: Sequence[str] = ()
) -> tuple[list[Any], Given]:
    """Parse ``argv`` into one instance of each dataclass; ``--config`` fills in, the command line wins.

    Raises:
        UserError: an argument or a configuration key is unknown or has the wrong type.
    """
    from transformers import HfArgumentParser

    argv = _join_prefixless(list(argv))
    config, rest = _take_config(argv)
    parser = HfArgumentParser(list(dataclasses), prog=prog, allow_abbrev=False)
    parser.error = lambda message: _complain(parser, message)
    known = {action.dest: action for action in parser._actions}
    config_argv = _config_as_argv(config, known) if config else []
    given = Given(_given(parser, rest), _given(parser, config_argv))
    with _errors_of_the_dataclasses():
        *parsed, unknown = parser.parse_args_into_dataclasses(
            args=[*config_argv, *rest], return_remaining_strings=True, look_for_args_file=False
        )
    if unknown:
        raise UserError(_unknown(unknown[0], [f"--{name}" for name in known]))
    return parsed, given


@contextlib.contextmanager
def _errors_of_the_dataclasses() -> Any:
    """What TRL's and transformers' argument classes refuse is the user's to mend, too."""
    try:
        yield
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error


def _complain(parser: argparse.ArgumentParser, message: str) -> typing.NoReturn:
    raise UserError(f"{message}; see: {parser.prog} --help")


def _join_prefixless(argv: list[str]) -> list[str]:
    """``--learning-rate`` is accepted for ``--learning_rate``."""
    return [
        word.split("=", 1)[0].replace("-", "_").replace("__", "--", 1) + word[len(word.split("=", 1)[0]) :]
        if word.startswith("--")
        else word
        for word in argv
    ]


def _take_config(argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    found, rest = parser.parse_known_args(argv)
    return (_read_config(found.config) if found.config else {}), rest


def _read_config(name: str) -> dict[str, Any]:
    import yaml

    file = Path(name)
    if not file.is_file():
        raise UserError(f"--config {name} does not exist")
    try:
        config = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"--config {name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {name} holds no 'argument: value' lines")
    return config


def _config_as_argv(config: dict[str, Any], known: dict[str, Any]) -> list[str]:
    argv: list[str] = []
    for name, value in config.items():
        if name not in known:
            raise UserError(_unknown(str(name), list(known)) + " (in --config)")
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        argv += [f"--{name}", *(json.dumps(one) if isinstance(one, dict) else str(one) for one in values)]
    return argv


def _unknown(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word.split("=")[0], known, n=1)
    return f"unknown argument {word}" + (f"; did you mean {close[0]}?" if close else "")


def _given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> frozenset[str]:
    """Names of the arguments that stand in ``argv``."""
    flags = {flag: action.dest for action in parser._actions for flag in action.option_strings}
    return frozenset(flags[word.split("=")[0]] for word in argv if word.split("=")[0] in flags)


def parse_train(argv: Sequence[str], prog: str) -> tuple[Any, Any, Any, Given]:
    """Arguments of ``train``."""
    from .training_args import TrainingArguments

    (model_args, data_args, training_args), given = parse(
        argv, (ModelArguments, DataArguments, TrainingArguments), prog
    )
    return model_args, data_args, training_args, given


def parse_light(argv: Sequence[str], declared: type[T], prog: str) -> T:
    """Arguments of a command other than ``train``, without torch, so that a wrong path is told at once."""
    parser = Parser(prog=prog, allow_abbrev=False)
    hints = typing.get_type_hints(declared)
    for one in fields(declared):  # type: ignore[arg-type]
        kind = hints[one.name]
        many = typing.get_origin(kind) is list
        if isinstance(kind, types.UnionType):
            kind = next(option for option in typing.get_args(kind) if option is not type(None))
        if kind is bool:
            kind = _truth
        options: dict[str, Any] = {"nargs": "+", "action": "extend"} if many else {"type": kind}
        parser.add_argument(f"--{one.name}", default=default_of(one), choices=one.metadata.get("choices"), **options)
    return declared(**vars(parser.parse_args(_join_prefixless(list(argv)))))


def _truth(word: str) -> bool:
    if word.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
    return word.lower() == "true"


TRAIN_HELP = (ModelArguments, DataArguments, TrainingDefaults)


def show_settings(arguments: Sequence[Any], given: Given, origins: Mapping[str, str], everything: bool = False) -> None:
    """Print ``name = value (origin)``: what was given or settled, and the plain defaults too when asked."""
    declared = {one.name for cls in (ModelArguments, DataArguments, TrainingDefaults) for one in fields(cls)}
    for instance in arguments:
        for one in fields(instance):
            origin = given.origin(one.name) or origins.get(one.name)
            if origin or (everything and one.name in declared):
                value = getattr(instance, one.name)
                logger.info("%s = %s (%s)", one.name, getattr(value, "value", value), origin or "default")
