"""Showing each argument with its value and where it came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from .args import DataArguments, ModelArguments, TrainingDefaults
from .parse import Given

logger = logging.getLogger(__name__)


def show_settings(arguments: Sequence[Any], given: Given, origins: Mapping[str, str], everything: bool = False) -> None:
    """Print ``name = value (origin)``: what was given or settled, and the plain defaults too when asked."""
    declared = {one.name for cls in (ModelArguments, DataArguments, TrainingDefaults) for one in fields(cls)}
    for instance in arguments:
        for one in fields(instance):
            origin = given.origin(one.name) or origins.get(one.name)
            if origin or (everything and one.name in declared):
                value = getattr(instance, one.name)
                logger.info("%s = %s (%s)", one.name, getattr(value, "value", value), origin or "default")
