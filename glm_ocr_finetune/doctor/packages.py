"""Versions against what is needed and what was tried last, and which extras are there; nothing is imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .findings import Finding, shown_path

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "glm-ocr-finetune"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"
OLDEST_PYTHON = (3, 10)

# The newest releases that the tests were run with; a newer one may work as well.
TRIED = {
    "torch": "2.14.1",
    "torchvision": "0.29.1",
    "transformers": "5.24.0",
    "trl": "1.16.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "bitsandbytes": "0.50.2",
    "trackio": "0.43.0",
}
FOR_WORK_ON_IT = "dev"  # an extra that users do not miss
WITHOUT = {  # extra -> what does not work without it
    "4bit": "no --load_in_4bit",
    "wandb": "no --report_to wandb",
    "tensorboard": "no --report_to tensorboard",
    "trackio": "no --report_to trackio",
    "xlsx": "no Excel tables",
}
CLONE = "pip install -r requirements.txt"


@dataclass(frozen=True)
class Needs:
    """What the package asks for: always, and by extra."""

    always: tuple[Requirement, ...]
    by_extra: dict[str, tuple[Requirement, ...]]


def itself() -> list[Finding]:
    """The package, where it lies, and the Python it runs in."""
    try:
        version = Finding(NAME, f"{importlib.metadata.version(NAME)} in {shown_path(Path(__file__).parents[1])}")
    except importlib.metadata.PackageNotFoundError:
        version = Finding(NAME, f"not installed; run from {shown_path(Path(__file__).parents[1])}", "note", CLONE)
    running = f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}"
    too_old = sys.version_info < OLDEST_PYTHON
    python = Finding(
        "Python", running, "BROKEN" if too_old else "ok", "install Python 3.10 or newer" if too_old else None
    )
    return [version, python]


def needed() -> list[Finding]:
    """Each package that is always needed: its version, and whether that will do."""
    if importlib.util.find_spec("packaging") is None:
        return [Finding("packaging", "missing", "BROKEN", "pip install packaging")]
    needs = needs_of()
    if needs is None:
        return [Finding("packages", "what is needed is not known here", "BROKEN", CLONE)]
    findings = [version_of(one) for one in needs.always]
    main = [one for one in findings if one.state != "ok" or one.what in TRIED]
    rest = len(findings) - len(main)
    return [*main, Finding("other packages", f"{rest} more, all as needed")] if rest else main


def extras() -> list[Finding]:
    """What is there of the optional packages."""
    needs = needs_of() if importlib.util.find_spec("packaging") else None
    findings = []
    for extra, wanted in (needs.by_extra if needs else {}).items():
        for one in wanted:
            found = version_of(one)
            if found.state == "BROKEN":  # nobody has to have it
                missing = f"{found.found}; {WITHOUT.get(extra, f'the extra {extra}')}"
                found = Finding(found.what, missing, "note", found.mend)
            findings.append(found)
    return findings


def version_of(wanted: Requirement) -> Finding:
    """The installed version of one package against what is needed and what was tried last."""
    from packaging.version import Version

    asked = f"{wanted.name}{wanted.specifier}"
    mend = f"pip install -U '{asked}'"
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(wanted.name, f"missing (needed: {wanted.specifier or 'any'})", "BROKEN", mend)
    if not wanted.specifier.contains(version, prereleases=True):
        return Finding(wanted.name, f"{version} (needed: {wanted.specifier})", "BROKEN", mend)
    tried = TRIED.get(wanted.name)
    newer = tried is not None and Version(version) > Version(tried)
    return Finding(wanted.name, f"{version} (newest tried: {tried})" if newer else version, "note" if newer else "ok")


def needs_of() -> Needs | None:
    """From the project file of a clone, which is newer than what was written at its installation; else from that."""
    from packaging.requirements import Requirement

    project = _project()
    if project:
        optional = project.get("optional-dependencies", {})
        by_extra = {extra: tuple(map(Requirement, optional[extra])) for extra in optional if extra != FOR_WORK_ON_IT}
        return Needs(tuple(map(Requirement, project["dependencies"])), by_extra)
    try:
        written = [Requirement(line) for line in importlib.metadata.requires(NAME) or ()]
    except importlib.metadata.PackageNotFoundError:
        return None
    return Needs(tuple(one for one in written if one.marker is None), dict(_extras_of(written)))


def _extras_of(written: list[Requirement]) -> Iterator[tuple[str, tuple[Requirement, ...]]]:
    marked = [(re.search(r"extra == ['\"](.+?)['\"]", str(one.marker)), one) for one in written if one.marker]
    for extra in dict.fromkeys(found[1] for found, _ in marked if found):
        if extra != FOR_WORK_ON_IT:
            yield extra, tuple(one for found, one in marked if found and found[1] == extra)


def _project() -> dict[str, Any] | None:
    """The project table of the clone; None elsewhere, and in Python 3.10, which reads no TOML."""
    if not PROJECT.is_file() or sys.version_info < (3, 11):
        return None
    import tomllib

    project: dict[str, Any] = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    return project if project["name"] == NAME else None
