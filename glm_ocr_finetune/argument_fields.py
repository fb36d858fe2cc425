"""What a declared argument is made of: its default, its help, and the values that it takes."""

from __future__ import annotations

import math
from dataclasses import MISSING, Field, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Range:
    """The numbers that an argument takes: from ``low`` (or above it, when ``open``) to below ``high``, or ``also``."""

    low: float
    high: float = math.inf
    open: bool = False
    also: float | None = None

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open else value >= self.low
        return (above and value < self.high) or value == self.also

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"from {self.low:g} to below {self.high:g}"
        also = "" if self.also is None else f", or {self.also:g}"
        return f"{'above' if self.open else 'at least'} {self.low:g}{also}"


POSITIVE = Range(0, open=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
SHARE = Range(0, high=1)


def arg(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    bare: str | None = None,
    within: Range | None = None,
    needs: str | None = None,
    also: tuple[str, ...] = (),
) -> Any:
    """A dataclass field for the command line.

    Args:
        bare: the value of the flag alone.
        within: the numbers that it takes.
        needs: what it has no effect without, a key of ``argument_checks.NEEDS``.
        also: other names it is known by.
    """
    told = {"choices": choices, "bare": bare, "within": within, "needs": needs, "also": also}
    return field(default=default, metadata={"help": help} | {name: value for name, value in told.items() if value})


def default_of(declared: Field[Any]) -> Any:
    """The default of a dataclass field."""
    return declared.default_factory() if declared.default_factory is not MISSING else declared.default
