"""Data sets that are read together: the name of each, its share, and the arguments that are its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .args import DataArguments, DataSource
from .errors import UserError

SHARE = re.compile(r"(?P<name>.+):(?P<share>[^:/\\]*)")
OWN = (*(one.name for one in fields(DataSource)), "prompt", "task", "train_split", "eval_split", "share")


@dataclass(frozen=True)
class DataSet:
    """One of the data sets that are read together.

    Attributes:
        args: of this one alone; its ``dataset_name`` is one name.
        share: its part of the training samples, relative to the others'; None where they are simply joined.
        is_replay: mixed in and nothing else: it is not evaluated on, and the pixel budget does not follow its images.
    """

    args: DataArguments
    share: float | None = None
    is_replay: bool = False

    @property
    def name(self) -> str:
        return str(self.args.dataset_name)


def data_sets_of(data_args: DataArguments) -> list[DataSet]:
    """The data sets of ``--dataset_name``, each with what is its own in place of what is given for all.

    Raises:
        UserError: an entry is neither a name nor a mapping of known arguments, or only some have a share.
    """
    given = data_args.dataset_name
    sets = [_data_set(one, data_args) for one in (given if isinstance(given, list) else [given])]
    if any(one.share is None for one in sets) and any(one.share is not None for one in sets):
        without = next(one.name for one in sets if one.share is None)
        raise UserError(f"--dataset_name: {without} has no share; give every data set one (NAME:0.7), or none")
    if len(sets) == 1 and sets[0].share is not None:
        raise UserError(
            f"--dataset_name: a share of {sets[0].share:g} for {sets[0].name} alone has no effect; leave it out"
        )
    return sets


def names_of(dataset_name: Any) -> list[str]:
    """The names alone, for a first look at whether they exist."""
    if not dataset_name:
        return []
    return [one.name for one in data_sets_of(DataArguments(dataset_name=dataset_name))]


def _data_set(entry: Any, data_args: DataArguments) -> DataSet:
    if isinstance(entry, Mapping):
        return _of_mapping(entry, data_args)
    name, share = str(entry), None
    found = SHARE.fullmatch(name)
    if found and not Path(name).exists():
        name, share = found["name"], _share(found["share"], name)
    return DataSet(replace(data_args, dataset_name=name), share)


def _of_mapping(entry: Mapping[str, Any], data_args: DataArguments) -> DataSet:
    own = dict(entry)
    for unknown in own.keys() - set(OWN):
        close = difflib.get_close_matches(str(unknown), OWN, n=1)
        meant = f"did you mean {close[0]}?" if close else f"expected some of: {', '.join(OWN)}"
        raise UserError(f"--dataset_name: a data set has no argument {unknown!r}; {meant}")
    name = own["dataset_name"] if own.get("dataset_name") else None
    if not isinstance(name, str):
        raise UserError(f"--dataset_name: an entry without a dataset_name: {own}")
    share = own.pop("share", None)
    own = {key: _checked(key, value, name) for key, value in own.items() if value is not None}
    if "prompt" in own and "task" in own:
        raise UserError(f"--dataset_name {name}: prompt and task exclude each other; give one of them")
    if "prompt" in own or "task" in own:  # either stands in the place of what is given for all
        own = {"prompt": None, "task": None} | own
    return DataSet(replace(data_args, **own), None if share is None else _share(share, name))


def _checked(key: str, value: Any, name: str) -> Any:
    """An argument of one data set as its declaration takes it. Raises UserError for any other."""
    declared = DataArguments.__dataclass_fields__[key]
    if "int" in str(declared.type):
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", str(value)):
            raise UserError(f"--dataset_name {name}: {key} is {value!r}; it must be a whole number")
        value = int(value)
    elif isinstance(value, (bool, list, Mapping)):
        raise UserError(f"--dataset_name {name}: {key} is {value!r}; it must be text")
    else:
        value = str(value)
    within, choices = (declared.metadata.get(word) for word in ("within", "choices"))
    if within is not None and value not in within:
        raise UserError(f"--dataset_name {name}: {key} is {value}; it must be {within}")
    if choices and value not in choices:
        raise UserError(f"--dataset_name {name}: {key} {value!r} is none of {', '.join(choices)}")
    return value


def _share(value: Any, name: str) -> float:
    try:
        share = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share < float("inf"):
        raise UserError(f"--dataset_name: the share of {name} is {value!r}; it must be a number above 0, such as 0.7")
    return share
