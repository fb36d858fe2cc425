"""What is carried to a machine without a network; nothing is downloaded here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks import gpu_wheels
from benchmarks.gpu_wheels import Target, collect, keep_kernels, read_installed, split

METADATA = "Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"


def write_wheel(
    folder: Path, name: str, version: str, requires: tuple[str, ...] = (), files: tuple[str, ...] = ()
) -> Path:
    """A wheel with these files, and RECORD and METADATA as they must be."""
    wheel, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    names = [*files, f"{info}/METADATA", f"{info}/RECORD"]
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in files:
            archive.writestr(file, "kernels " * 100)
        lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
        archive.writestr(f"{info}/METADATA", METADATA.format(name=name, version=version) + lines)
        archive.writestr(f"{info}/RECORD", "".join(f"{one},,\n" for one in names))
    return wheel


def test_what_the_machine_has_is_read_without_the_name_of_its_build(tmp_path: Path) -> None:
    file = tmp_path / "installed.txt"
    file.write_text("torch==2.11.0+cu130\nJinja2==3.1.6\nown @ file:///somewhere\n", encoding="utf-8")
    assert read_installed(file) == {"torch": "2.11.0", "jinja2": "3.1.6"}


def test_only_what_is_lacking_or_too_old_is_collected_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``there`` is at hand, ``old`` is below its floor, ``new`` needs ``deep``; ``other`` is for Windows."""
    index = {
        "old>=2": ("old", "2.1", ("there>=1", 'other; sys_platform == "win32"')),
        "new": ("new", "1.0", ("deep<3", 'more; extra == "more"')),
        "deep<3": ("deep", "2.9", ()),
        "more": ("more", "1.0", ()),
    }
    monkeypatch.setattr(gpu_wheels, "download", lambda wanted, python, folder: write_wheel(folder, *index[wanted]))
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch>=2.10", "there", "old>=2", "new[more]"])
    found = collect(Target("3.12", {"torch": "2.11.0", "there": "1.5", "old": "1.9"}), tmp_path)
    assert {name: wheel.name.split("-")[1] for name, (wheel, _) in found.items()} == {
        "old": "2.1",
        "new": "1.0",
        "deep": "2.9",
        "more": "1.0",
    }
    assert found["deep"][1] == "new 1.0"


def test_a_torch_below_the_floor_is_said_and_not_carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch>=2.10"])
    with pytest.raises(SystemExit, match="needs torch>=2.10; the machine has 2.9"):
        collect(Target("3.12", {"torch": "2.9"}), tmp_path)


def test_a_range_that_becomes_narrower_is_looked_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = {"a": ("a", "3.0", ()), "b": ("b", "1.0", ("a<3",)), "a<3": ("a", "2.5", ())}
    monkeypatch.setattr(gpu_wheels, "download", lambda wanted, python, folder: write_wheel(folder, *index[wanted]))
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["a", "b"])
    assert collect(Target("3.12", {}), tmp_path)["a"][0].name == "a-2.5-py3-none-any.whl"
    assert sorted(wheel.name for wheel in tmp_path.iterdir()) == ["a-2.5-py3-none-any.whl", "b-1.0-py3-none-any.whl"]


def test_kernels_for_other_devices_are_left_out_of_the_wheel_and_of_its_record(tmp_path: Path) -> None:
    files = tuple(
        f"bitsandbytes/libbitsandbytes_{name}.so" for name in ("cpu", "cuda128", "cuda130", "rocm70", "xpu2025")
    )
    wheel = write_wheel(tmp_path, "bitsandbytes", "0.50.2", files=files)
    keep_kernels(wheel, "130")
    with zipfile.ZipFile(wheel) as archive:
        kept = set(archive.namelist())
        record = archive.read("bitsandbytes-0.50.2.dist-info/RECORD").decode().splitlines()
    assert {name for name in kept if name.endswith(".so")} == {files[0], files[2]}
    assert {row.split(",")[0] for row in record} == kept


def test_parts_hold_no_more_than_they_may(tmp_path: Path) -> None:
    sizes = {"a": 50, "b": 30, "c": 25, "d": 5, "e": 90}
    wheels = []
    for name, size in sizes.items():
        wheels.append(tmp_path / name)
        wheels[-1].write_bytes(b"0" * size)
    parts = [sorted(file.name for file in part) for part in split(wheels, 60)]
    assert parts == [["e"], ["a", "d"], ["b", "c"]]


@pytest.mark.parametrize(("marker", "applies"), [("python_version < '3.12'", False), ("sys_platform == 'linux'", True)])
def test_a_requirement_holds_for_the_machine_it_is_meant_for(marker: str, applies: bool) -> None:
    assert Target("3.12", {}).applies(Requirement(f"one; {marker}"), set()) is applies
