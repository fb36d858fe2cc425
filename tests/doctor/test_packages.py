"""Versions: too old, missing, newer than tried; from distributions that really lie on the path."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from glm_ocr_finetune.doctor import packages
from glm_ocr_finetune.doctor.packages import TRIED, WITHOUT, extras, itself, needed, needs_of, version_of


def lay_down(folder: Path, name: str, version: str) -> None:
    """A distribution as pip leaves it, without anything in it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def test_an_old_transformers_is_broken_and_the_command_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_down(tmp_path, "transformers", "4.57.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = [one for one in needed() if one.what == "transformers"]
    assert (found.state, found.found) == ("BROKEN", "4.57.0 (needed: <6,>=5.19)")
    assert found.mend == "pip install -U 'transformers<6,>=5.19'"


@pytest.mark.parametrize(
    ("version", "asked", "state", "found"),
    [
        ("1.5", ">=1.2", "ok", "1.5"),
        ("1.2.0rc1", ">=1.1", "ok", "1.2.0rc1"),
        ("1.1", ">=1.2", "BROKEN", "1.1 (needed: >=1.2)"),
        (None, ">=1.2", "BROKEN", "missing (needed: >=1.2)"),
        ("9.0", ">=1.2", "note", "9.0 (newest tried: 2.0)"),
    ],
)
def test_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, asked: str, state: str, found: str
) -> None:
    if version:
        lay_down(tmp_path, "some-package", version)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(TRIED, "some-package", "2.0")
    finding = version_of(Requirement(f"some-package{asked}"))
    assert (finding.state, finding.found) == (state, found)


def test_a_missing_extra_is_no_fault_and_says_what_does_not_work() -> None:
    found = {one.what: one for one in extras()}
    assert {one.state for one in found.values()} <= {"ok", "note"}
    missing = [name for name in ("wandb", "trackio") if not _is_installed(name)]
    for name in missing:
        assert f"no --report_to {name}" in found[name].found
        assert found[name].mend is not None
        assert found[name].mend.startswith(f"pip install -U '{name}>=")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def test_what_was_tried_is_within_what_is_needed() -> None:
    needs = needs_of()
    assert needs is not None
    wanted = {one.name: one for one in (*needs.always, *(one for some in needs.by_extra.values() for one in some))}
    for name, version in TRIED.items():
        assert wanted[name].specifier.contains(version), name
    assert set(WITHOUT) == set(needs.by_extra) - {"docs"}, "nobody's run needs what builds the site"


def test_a_clone_says_what_it_needs_now_and_an_installation_what_it_needed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = needs_of()
    monkeypatch.setattr(packages, "PROJECT", tmp_path / "pyproject.toml")
    lay_down(tmp_path, "glm_ocr_finetune", "0.1.0")
    with (tmp_path / "glm_ocr_finetune-0.1.0.dist-info" / "METADATA").open("a", encoding="utf-8") as file:
        file.write('Requires-Dist: torch>=2.10\nRequires-Dist: bitsandbytes>=0.49; extra == "4bit"\n')
        file.write('Requires-Dist: pytest; extra == "dev"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = needs_of()
    assert clone is not None
    assert installed is not None
    assert len(clone.always) > 10
    assert [str(one) for one in installed.always] == ["torch>=2.10"]
    assert {extra: [one.name for one in some] for extra, some in installed.by_extra.items()} == {
        "4bit": ["bitsandbytes"]
    }


def test_it_knows_itself() -> None:
    version, python = itself()
    assert version.found.startswith(importlib.metadata.version("glm-ocr-finetune"))
    assert (version.state, python.state) == ("ok", "ok")
    assert Version(python.found.split()[0]) >= Version("3.10")
