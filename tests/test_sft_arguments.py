"""The table of TRL's arguments is that of the installed TRL: names, kinds, values; and the page is made from it."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import typing
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from trl import SFTConfig

from glm_ocr_finetune.args import TrainingDefaults
from glm_ocr_finetune.argument_checks import NEEDS
from glm_ocr_finetune.sft_arguments import ARGUMENTS, BY_NAME, INSTALL, OPTIMIZERS, OURS, TRACKERS, Argument

CLONE = Path(__file__).parents[1]
INSTALLED = {one.name: one for one in fields(SFTConfig)}
HINTS = typing.get_type_hints(SFTConfig)
KINDS = {"bool": bool, "int": int, "float": float, "str": str, "list": list, "dict": dict, "file": dict}
# Fields that came after the oldest release that is supported, so that they may be missing.
NEWER = frozenset({"activation_checkpointing", "activation_checkpointing_kwargs"})  # transformers 5.20
# What TRL does by default and this package does not; the given value is the only one that is accepted.
OTHER_DEFAULT = {"do_train", "do_eval", "prediction_loss_only", "remove_unused_columns"}


def parts_of(hint: Any) -> set[Any]:
    """The types of a union, and what enumerations and generic types are made of."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return set().union(*(parts_of(part) for part in typing.get_args(hint)))
    return {typing.get_origin(hint) or hint}


def default_of(name: str) -> Any:
    one = INSTALLED[name]
    return one.default if one.default is not MISSING else one.default_factory()  # type: ignore[misc]


def test_every_argument_of_the_installed_trl_is_listed() -> None:
    missing = sorted(INSTALLED.keys() - BY_NAME.keys() - set(OURS))
    assert not missing, (
        f"this TRL or transformers has arguments that sft_arguments.py does not list: {', '.join(missing)}; "
        "find out what each does on this package's path, and add it there"
    )


def test_nothing_is_listed_twice_or_for_nothing() -> None:
    listed = [*OURS, *(one.name for one in ARGUMENTS)]
    assert len(listed) == len(set(listed))
    assert set(listed) - INSTALLED.keys() <= NEWER
    assert set(OURS) == {one.name for one in fields(TrainingDefaults)} & INSTALLED.keys()


@pytest.mark.parametrize("one", [one for one in ARGUMENTS if one.name in INSTALLED], ids=lambda one: one.name)
def test_kind_and_values_are_those_of_the_installed_trl(one: Argument) -> None:
    hints = parts_of(HINTS[one.name])
    if one.only is None or one.only not in ((None,),):  # what cannot be given needs no kind
        assert KINDS[one.kind] in hints or (one.kind == "str" and any(issubclass(hint, Enum) for hint in hints))
    values = {member.value for hint in hints if isinstance(hint, type) and issubclass(hint, Enum) for member in hint}
    values |= set(INSTALLED[one.name].metadata.get("choices") or ())
    if one.choices or one.only is None:
        assert values <= set(one.choices) or one.name in ("debug", "ddp_backend"), values - set(one.choices)


@pytest.mark.parametrize(
    "one", [one for one in ARGUMENTS if one.only and one.name in INSTALLED], ids=lambda one: one.name
)
def test_the_default_is_never_refused(one: Argument) -> None:
    default = default_of(one.name)
    assert one.only
    assert default in (*one.only, None) or one.name in OTHER_DEFAULT


def test_needs_are_known_and_used() -> None:
    used = {one.needs for one in ARGUMENTS} | {one.metadata.get("needs") for one in fields(TrainingDefaults)}
    assert used - {None} == set(NEEDS)


def test_packages_are_named_for_optimizers_and_trackers_that_exist() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
    from transformers.training_args import OptimizerNames

    assert {name.value for name in OptimizerNames} <= set(OPTIMIZERS)
    assert set(INTEGRATION_TO_CALLBACK) <= set(TRACKERS)
    assert set(INSTALL) <= set(OPTIMIZERS.values()) | set(TRACKERS.values())


def test_the_pages_are_up_to_date() -> None:
    env = os.environ | {"PYTHONPATH": str(CLONE)}
    done = subprocess.run(
        [sys.executable, "docs/make_cli.py", "--check"], cwd=CLONE, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (CLONE / "docs" / "sft-arguments.md").read_text(encoding="utf-8")
    assert not [name for name in (*OURS, *BY_NAME) if f"| `--{name}` |" not in page]
