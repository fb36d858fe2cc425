"""The trial of training and reading, judged; and which package is at fault where it fails."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from .findings import Finding, faults
from .fresh import import_in_vain, run_module
from .packages import needs_of

WORDS = ("amber", "birch", "cedar", "dahlia")  # what doctor.trial draws
ORDER = ("numpy", "torch", "torchvision", "transformers", "accelerate", "datasets", "peft", "trl")  # of imports
ISSUES = "https://github.com/Reach2N/glm-ocr-finetune/issues"
ATTENTION = {True: "samples need no padding", False: "each sample on its own"}


def tried(before: Iterable[Finding]) -> list[Finding]:
    """One step and one reading with the tiny model; where it fails, also the packages that cannot be imported.

    Args:
        before: what was found until now: what is broken there may be why.
    """
    outcome = run_module("doctor.trial")
    if outcome.answer is not None:
        return judged(**outcome.answer)
    known, why = faults(before), outcome.why.rpartition("UserError: ")
    culprits = [] if why[1] else broken_imports(skipped={one.what for one in known})
    mend = "mend what stands above, then run this again" if known or culprits else f"report it: {ISSUES}"
    return [*culprits, Finding("one step and one reading", f"failed: {why[2]}", "BROKEN", mend)]


def judged(training_s: float, reading_s: float, read: list[str], variable_length: bool) -> list[Finding]:
    """What the trial gave: the tiny model knows the words that it was shown."""
    took = f"tiny model trained for a step in {training_s:.1f} s, four words read in {reading_s:.1f} s"
    attention = Finding("attention in training", ATTENTION[variable_length])
    if read == list(WORDS):
        return [attention, Finding("one step and one reading", took)]
    wrong = f"{took}, but {', '.join(WORDS)} was read as {', '.join(map(repr, read))}"
    return [attention, Finding("one step and one reading", wrong, "BROKEN", f"report it: {ISSUES}")]


def broken_imports(skipped: set[str]) -> list[Finding]:
    """The first package, in the order in which they need each other, that cannot be imported; None where all can."""
    needs = needs_of() if importlib.util.find_spec("packaging") else None
    asked = {one.name: f"{one.name}{one.specifier}" for one in (needs.always if needs else ())}
    for package in ORDER:
        if package in skipped:
            return []  # what needs it cannot be imported either
        if why := import_in_vain(package):
            mend = f"pip install --force-reinstall '{asked.get(package, package)}'"
            return [Finding(f"import {package}", why, "BROKEN", mend)]
    return []
