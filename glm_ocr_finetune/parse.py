"""From the command line and ``--config`` to the argument dataclasses, and what was given by whom.

Everything is parsed and checked here without torch, TRL's arguments included, so that a mistyped flag is told at
once. (TRL's own parser for dataclasses and YAML needs torch before it has looked at the first word.)
"""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from .args import DataArguments, ModelArguments, TrainingDefaults
from .argument_checks import check_range, refuse, refuse_with_streaming
from .argument_fields import Range, default_of
from .errors import UserError
from .near_misses import suggestion
from .sft_arguments import ARGUMENTS

logger = logging.getLogger(__name__)

T = typing.TypeVar("T")

TRAIN = (ModelArguments, DataArguments, TrainingDefaults)
UNITS = {"gb": 10**9, "gib": 2**30}
FEW = 5  # choices that fit into the usage line


@dataclass(frozen=True)
class Given:
    """Names of the arguments given on the command line, in the configuration file, and by a Python program."""

    command_line: frozenset[str]
    config: frozenset[str]
    program: frozenset[str] = frozenset()

    def origin(self, name: str) -> str | None:
        """Who gave ``name``; None when nobody did."""
        if name in self.command_line:
            return "command line"
        if name in self.program:
            return "given"
        return "configuration file" if name in self.config else None


NOTHING_GIVEN = Given(frozenset(), frozenset())


@dataclass(frozen=True)
class Typed:
    """The values that were given, by name, and by whom."""

    values: dict[str, Any]
    given: Given

    def of(self, declared: type[T]) -> T:
        """An instance of a dataclass with those of the values that are its fields."""
        names = {one.name for one in fields(declared)}  # type: ignore[arg-type]
        return declared(**{name: value for name, value in self.values.items() if name in names})


@dataclass(frozen=True)
class Option:
    """One argument of a command line."""

    name: str
    kind: str
    optional: bool = False
    choices: tuple[str, ...] = ()
    bare: str | None = None
    within: Range | None = None
    also: tuple[str, ...] = ()
    adds_up: bool = False  # typed twice, the words of both count; else the last ones


@dataclass(frozen=True)
class Command:
    """The command that was typed, and the names of the arguments of the others, for suggestions."""

    prog: str
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)


def options(declared: type) -> list[Option]:
    """What the fields of a dataclass are on the command line."""
    hints = typing.get_type_hints(declared)
    return [_option(one, hints[one.name]) for one in fields(declared)]


def _option(one: Any, hint: Any) -> Option:
    one_of, optional = hint, isinstance(hint, types.UnionType)
    if optional:
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    kind = "list" if typing.get_origin(hint) is list else hint.__name__
    optional = optional and kind in ("bool", "int", "float")  # None is a word like others elsewhere
    told = {name: one.metadata[name] for name in ("choices", "bare", "within", "also") if name in one.metadata}
    return Option(one.name, kind, optional, adds_up=kind == "list" and not isinstance(one_of, types.UnionType), **told)


def train_options() -> list[Option]:
    """The arguments of ``train``: this package's, and all of TRL's."""
    found = [option for declared in TRAIN for option in options(declared)]
    return [*found, *(Option(one.name, one.kind, choices=one.choices, within=one.within) for one in ARGUMENTS)]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors in one line."""

    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message.removeprefix('argument ')}; see: {self.prog} --help")


def build_parser(prog: str, declared: Sequence[Option]) -> Parser:
    """A parser that yields only what was given."""
    parser = Parser(prog=prog, allow_abbrev=False, add_help=False, argument_default=argparse.SUPPRESS)
    for one in declared:
        flags = [f"--{name}" for name in (one.name, *one.also)]
        parser.add_argument(*flags, dest=one.name, **_how(one))
        if one.kind == "bool":
            parser.add_argument(f"--no_{one.name}", dest=one.name, action="store_false")
    return parser


def _how(one: Option) -> dict[str, Any]:
    if one.kind == "list":
        return {"nargs": "+", "action": "extend" if one.adds_up else "store"}
    if one.kind == "bool":
        return {"nargs": "?", "const": True, "type": partial(_value, one)}
    bare = {"nargs": "?", "const": one.bare} if one.bare else {}
    return {"type": partial(_value, one)} | bare


TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def _value(one: Option, word: str) -> Any:
    """A word as the kind of its argument. Raises ArgumentTypeError when it is none."""
    if one.optional and word.lower() in ("none", "null"):
        return None
    if one.kind in ("int", "float"):
        try:
            return int(word) if one.kind == "int" else float(word)
        except ValueError as error:
            what = "whole number" if one.kind == "int" else "number"
            raise argparse.ArgumentTypeError(f"{word!r} is not a {what}") from error
    if one.kind == "bool":
        if word.lower() not in TRUE + FALSE:
            raise argparse.ArgumentTypeError(f"{word!r} is neither True nor False")
        return word.lower() in TRUE
    if one.choices and word not in one.choices:
        close = difflib.get_close_matches(word, one.choices, n=1)
        meant = f"did you mean {close[0]}?" if close else f"expected one of: {', '.join(one.choices)}"
        raise argparse.ArgumentTypeError(f"{word!r} is not a choice; {meant}")
    return _json(one, word) if one.kind in ("dict", "file") else word


def _json(one: Option, word: str) -> Any:
    """A JSON object, or for ``file`` the path of one that exists."""
    if one.kind == "file" and not word.lstrip().startswith("{"):
        if not Path(word).is_file():
            raise argparse.ArgumentTypeError(f"{word} is no file; expected one, or a JSON object")
        return word
    try:
        value = json.loads(word)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{word!r} is no JSON object, such as {{"name": 1}}')
    return value


def read_arguments(argv: Sequence[str], declared: Sequence[Option], command: Command) -> Typed:
    """What was given in ``argv``, and in the ``--config`` that it names; the command line wins.

    Raises:
        UserError: an argument or a configuration key is unknown, of the wrong type, or out of range.
    """
    parser = build_parser(command.prog, [*declared, Option("config", "str")])
    command_line = _parse(parser, _normalised(argv), declared, command)
    file = command_line.pop("config", None)
    config = _parse(parser, _config_as_argv(file, declared, command), declared, command) if file else {}
    return _within_range(Typed(config | command_line, Given(frozenset(command_line), frozenset(config))), declared)


def _within_range(typed: Typed, declared: Sequence[Option]) -> Typed:
    for one in declared:
        check_range(one.name, typed.values.get(one.name), one.within)
    return typed


def _parse(parser: Parser, argv: list[str], declared: Sequence[Option], command: Command) -> dict[str, Any]:
    found, unknown = parser.parse_known_args(argv)
    if unknown and unknown[0].startswith("-"):
        raise UserError(_unknown(unknown[0].split("=")[0], declared, command))
    if unknown:
        raise UserError(f"unexpected word {unknown[0]!r}; arguments are written as --name value")
    return vars(found)


def _unknown(flag: str, declared: Sequence[Option], command: Command) -> str:
    names = [name for one in declared for name in (one.name, *one.also)]
    told = suggestion(flag.lstrip("-").replace("-", "_"), names, command.others)
    return f"unknown argument {flag}{told or f'; see: {command.prog} --help'}"


def _normalised(argv: Sequence[str]) -> list[str]:
    """``--learning-rate`` is accepted for ``--learning_rate``, and a negative number is never taken for a flag."""
    words: list[str] = []
    for word in argv:
        if words and word.startswith("-") and _is_number(word) and words[-1].startswith("--"):
            words[-1] += f"={word}"
        elif word.startswith("--"):
            flag, equals, value = word.partition("=")
            words.append(f"--{flag[2:].replace('-', '_')}{equals}{value}")
        else:
            words.append(word)
    return words


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _config_as_argv(file: str, declared: Sequence[Option], command: Command) -> list[str]:
    return _as_argv(_read_config(file), declared, command, f" (in --config {file})")


def _as_argv(values: Mapping[str, Any], declared: Sequence[Option], command: Command, where: str) -> list[str]:
    """Values by name as they would be typed. Raises UserError, ending with ``where``, for a name that is unknown."""
    known = {name: one for one in declared for name in (one.name, *one.also)}
    argv: list[str] = []
    for name, value in values.items():
        key = str(name).replace("-", "_")
        if key not in known:
            raise UserError(_unknown(str(name), declared, command).replace("--", "") + where)
        if value is None and not known[key].optional:
            continue
        words = _config_words(value, known[key])
        argv += [f"--{key}={word}" for word in words] if known[key].kind != "list" else [f"--{key}", *words]
    return argv


def _config_words(value: Any, one: Option) -> list[str]:
    """A YAML value as it would be typed; ``no`` and ``off``, which are booleans in YAML, as the choices they are."""
    if isinstance(value, list):
        words = [json.dumps(word, ensure_ascii=False) if isinstance(word, dict) else str(word) for word in value]
        return words if one.kind == "list" else [",".join(words)]
    if value is False and one.choices:
        value = next((word for word in ("no", "off") if word in one.choices), value)
    return [json.dumps(value) if isinstance(value, dict) else str(value)]


def _read_config(name: str) -> dict[str, Any]:
    import yaml

    file = Path(name)
    if not file.is_file():
        raise UserError(f"--config {name} does not exist")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {name} holds no 'argument: value' lines")
    return config


def read_train(argv: Sequence[str], prog: str, others: Mapping[str, Sequence[str]] | None = None) -> Typed:
    """What was given to ``train``, refused where it can have no effect."""
    return _sound(read_arguments(argv, train_options(), Command(prog, others or {})))


def read_train_values(values: Mapping[str, Any], prog: str) -> Typed:
    """What a Python program gave to ``train``, by name; checked and refused like what is typed."""
    declared, command = train_options(), Command(prog)
    found = _parse(build_parser(prog, declared), _as_argv(values, declared, command, ""), declared, command)
    nobody: frozenset[str] = frozenset()
    return _sound(_within_range(Typed(found, Given(nobody, nobody, frozenset(found))), declared))


def _sound(typed: Typed) -> Typed:
    refuse(typed.values)
    plan_size(typed.values.get("plan"))
    _refuse_clashes(typed)
    return typed


def plan_size(plan: str | None) -> int | None:
    """Bytes of the GPU that ``--plan 8GB`` names; None for ``--plan`` alone and without it.

    Raises:
        UserError: it is neither a size nor True.
    """
    if plan is None or plan.lower() in ("true", "false"):
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(gb|gib)", plan.strip(), re.IGNORECASE)
    if not found or float(found[1]) == 0:
        raise UserError(f"--plan {plan} is not the size of a GPU; expected for instance 8GB or 24GiB, or --plan alone")
    return round(float(found[1]) * UNITS[found[2].lower()])


def _refuse_clashes(typed: Typed) -> None:
    """Raise UserError for an argument that another one, or its absence, leaves without effect."""
    values = typed.values
    if "tokens_per_batch" in values and "per_device_train_batch_size" in values:
        raise UserError("--tokens_per_batch and --per_device_train_batch_size exclude each other; give one of them")
    if "prompt" in values and "task" in values:
        raise UserError("--prompt and --task exclude each other: --task stands for a prompt; give one of them")
    if "replay_ratio" in values and not values.get("replay_dataset"):
        raise UserError("--replay_ratio needs --replay_dataset")
    if values.get("streaming"):
        refuse_with_streaming(typed.of(DataArguments), types.SimpleNamespace(**vars(TrainingDefaults()) | values))
    adapters = [name for name in ("lora_rank", "lora_alpha", "lora_dropout", "lora_target") if name in values]
    if adapters and not values.get("use_lora") and not values.get("plan"):
        raise UserError(f"--{adapters[0]} needs --use_lora True")


def build_train(typed: Typed) -> tuple[ModelArguments, DataArguments, Any, Given]:
    """The arguments of ``train`` as dataclasses; imports torch."""
    from .training_args import build

    return typed.of(ModelArguments), typed.of(DataArguments), build(typed.values), typed.given


def parse_train(argv: Sequence[str], prog: str) -> tuple[ModelArguments, DataArguments, Any, Given]:
    """Arguments of ``train``."""
    return build_train(read_train(argv, prog))


def parse_light(
    argv: Sequence[str], declared: type[T], prog: str, others: Mapping[str, Sequence[str]] | None = None
) -> T:
    """Arguments of a command other than ``train``."""
    return read_arguments(argv, options(declared), Command(prog, others or {})).of(declared)


def help_text(prog: str, dataclasses: Sequence[type], epilog: str) -> str:
    """The help of a command, made from its dataclasses: a group for each class that declares arguments."""
    parser = argparse.ArgumentParser(prog=prog, epilog=epilog, add_help=False)
    for group_of in [base for declared in dataclasses for base in declared.__mro__ if base is not object]:
        names = [one for one in fields(group_of) if one.name in group_of.__dict__.get("__annotations__", {})]
        group = parser.add_argument_group((group_of.__doc__ or group_of.__name__).splitlines()[0].rstrip("."))
        for one in names:
            _add_help(group, one)
    return parser.format_help()


def _add_help(group: Any, one: Any) -> None:
    default = default_of(one)
    choices = one.metadata.get("choices", ())
    told = one.metadata["help"] + (f" One of: {', '.join(choices)}." if len(choices) > FEW else "")
    told += "" if default in (None, []) or "Default" in told else f" Default: {default}."
    flags = [f"--{name}" for name in (one.name, *one.metadata.get("also", ()))]
    group.add_argument(*flags, metavar=_metavar(one, choices), help=told.replace("%", "%%"))


def _metavar(one: Any, choices: Sequence[str]) -> str:
    if choices:
        return "NAME" if len(choices) > FEW else "{" + ",".join(choices) + "}"
    if "bare" in one.metadata:
        return "[SIZE]"
    kind = str(one.type).replace(" | None", "")
    return {"bool": "True|False", "int": "N", "float": "X", "list[str]": "WORD"}.get(kind, "TEXT")


def show_settings(arguments: Sequence[Any], given: Given, origins: Mapping[str, str], everything: bool = False) -> None:
    """Print ``name = value (origin)``: what was given, then what was settled, and the plain defaults too when asked."""
    declared = {one.name for cls in TRAIN for one in fields(cls)}
    every = [(one.name, getattr(instance, one.name)) for instance in arguments for one in fields(instance)]
    for name, value in sorted(every, key=lambda one: 0 if given.origin(one[0]) else 1 if one[0] in origins else 2):
        origin = given.origin(name) or origins.get(name)
        if origin or (everything and name in declared):
            logger.info("%s = %s (%s)", name, _shown(value), origin or "default")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(getattr(value, "value", value))
