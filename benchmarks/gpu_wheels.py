"""Collect what a GPU machine without a network lacks to run ``python -m benchmarks.gpu``.

    python -m benchmarks.gpu_wheels --have installed.txt --python 3.12 --cuda 130 --output carried

``installed.txt`` is what ``python -m pip list --format=freeze`` prints on that machine: what satisfies the ranges of
this project is used from there, the rest is downloaded as wheels for its Python (Linux, x86-64). torch and torchvision
must be there. The wheels go to ``carried/wheels``, or, where they are more than ``--part_mb``, to ``carried/wheels-1``,
``carried/wheels-2``, ... with no more than that in each; the small files of the real model to ``carried/config``.
``--cuda 130`` leaves bitsandbytes' kernels for other versions of CUDA out of its wheel, which makes it a twentieth.
There, once for each folder of wheels, and in front of the run:

    python -m pip install --no-index --no-deps --target PACKAGES carried/wheels/*.whl
    PYTHONPATH=PACKAGES python -m benchmarks.gpu --config_dir carried/config --output gpu.json
"""

from __future__ import annotations

import argparse
import email
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

PROJECT, EXTRAS = "glm-ocr-finetune", {"4bit"}
NOT_CARRIED = {"torch", "torchvision"}  # gigabytes, and built for the machine's own CUDA
GLIBC = range(5, 40)  # pip takes a wheel for the very version of glibc that it is told
PLATFORMS = ["linux_x86_64", *(f"manylinux{name}_x86_64" for name in ("1", "2010", "2014"))]
PLATFORMS += [f"manylinux_2_{minor}_x86_64" for minor in GLIBC]
KERNELS = re.compile(r"libbitsandbytes_(?:cuda|rocm|xpu)(\d+)\.so")
MB = 10**6


@dataclass(frozen=True)
class Wanted:
    """A requirement, and who has it."""

    requirement: Requirement
    source: str


@dataclass(frozen=True)
class Target:
    """The machine that lacks something.

    Attributes:
        python: its version, for instance 3.12.
        have: name -> version of what is installed there.
    """

    python: str
    have: Mapping[str, str]

    def applies(self, requirement: Requirement, extras: set[str]) -> bool:
        """Whether a requirement holds there, with one of the extras or with none."""
        there = {"python_version": self.python, "python_full_version": f"{self.python}.0", "sys_platform": "linux"}
        there |= {"platform_machine": "x86_64", "platform_system": "Linux", "implementation_name": "cpython"}
        base: dict[str, str] = {**default_environment(), **there}  # type: ignore[dict-item]
        marker = requirement.marker
        return marker is None or any(marker.evaluate(base | {"extra": extra}) for extra in ("", *extras))


def read_installed(file: Path) -> dict[str, str]:
    """Name -> version, from the lines ``name==version``; what follows a plus sign names a build, not a version."""
    pairs = (line.split("==") for line in file.read_text(encoding="utf-8").splitlines() if line.count("==") == 1)
    return {canonicalize_name(name): version.split("+")[0].strip() for name, version in pairs}


def collect(target: Target, folder: Path) -> dict[str, tuple[Path, str]]:
    """Download what is lacking and what that needs in turn.

    Returns:
        Name -> its wheel, and who needs it.

    Raises:
        SystemExit: the machine lacks what cannot be carried, or there is no wheel for it.
    """
    ranges: dict[str, SpecifierSet] = {}
    found: dict[str, tuple[Path, str]] = {}
    left = list(requirements(importlib.metadata.requires(PROJECT) or [], target, EXTRAS, PROJECT))
    while left:
        one = left.pop(0)
        name = canonicalize_name(one.requirement.name)
        ranges[name] = ranges.get(name, SpecifierSet()) & one.requirement.specifier
        at_hand = version_of(found[name][0]) if name in found else target.have.get(name)
        if at_hand is not None and ranges[name].contains(at_hand, prereleases=True):
            continue
        if name in NOT_CARRIED:
            raise SystemExit(f"{one.source} needs {name}{ranges[name]}; the machine has {at_hand or 'none'}")
        if name in found:
            found.pop(name)[0].unlink()
        wheel = download(f"{name}{ranges[name]}", target.python, folder)
        found[name] = wheel, one.source
        left += requirements(metadata_of(wheel), target, one.requirement.extras, f"{name} {version_of(wheel)}")
    return found


def requirements(lines: list[str], target: Target, extras: set[str], source: str) -> Iterator[Wanted]:
    """Those that hold on the machine."""
    parsed = (Requirement(line) for line in lines)
    return (Wanted(one, source) for one in parsed if target.applies(one, extras))


def version_of(wheel: Path) -> str:
    return str(parse_wheel_filename(wheel.name)[1])


def metadata_of(wheel: Path) -> list[str]:
    """The requirements of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name)).get_all("Requires-Dist") or []


def download(wanted: str, python: str, folder: Path) -> Path:
    """The newest wheel that fits."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    asked = ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms]
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", *asked, "--dest", scratch, wanted]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            raise SystemExit(f"no wheel of {wanted} for Python {python}: {done.stderr.strip().splitlines()[-1:]}")
        return Path(shutil.move(wheels[0], folder / wheels[0].name))


def keep_kernels(wheel: Path, cuda: str) -> None:
    """Leave out of bitsandbytes' wheel the kernels for other versions of CUDA and for other makers' devices."""
    slim = wheel.with_suffix(".slim")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as out:
        dropped = {name for name in whole.namelist() if is_other(name, cuda)}
        for info in whole.infolist():
            content = whole.read(info)
            if info.filename.endswith(".dist-info/RECORD"):
                rows = content.decode().splitlines(keepends=True)
                content = "".join(row for row in rows if row.split(",")[0] not in dropped).encode()
            if info.filename not in dropped:
                out.writestr(info, content, zipfile.ZIP_DEFLATED)
    slim.replace(wheel)


def is_other(name: str, cuda: str) -> bool:
    """Whether a file holds kernels, and not those for this version of CUDA."""
    return KERNELS.search(name) is not None and f"libbitsandbytes_cuda{cuda}.so" not in name


def split(wheels: list[Path], most: float) -> list[list[Path]]:
    """Parts of at most so many bytes, the largest wheels first; a wheel that is larger has a part of its own."""
    parts: list[list[Path]] = []
    for wheel in sorted(wheels, key=lambda one: -one.stat().st_size):
        size = wheel.stat().st_size
        part = next((one for one in parts if size + sum(map(size_of, one)) <= most), None)
        if part is None:
            parts.append(part := [])
        part.append(wheel)
    return parts


def size_of(file: Path) -> int:
    return file.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--have", type=Path, required=True, help="what `pip list --format=freeze` prints there")
    parser.add_argument("--python", default="3.12", help="version of Python there: %(default)s")
    parser.add_argument("--cuda", help="version of CUDA of torch there without the dot, for instance 130")
    parser.add_argument("--config_dir", type=Path, help="small files of the real model, to carry along")
    parser.add_argument("--part_mb", type=float, default=60, help="most megabytes in a folder: %(default)s")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    args = parser.parse_args()
    if args.output.exists():
        parser.error(f"--output {args.output} is there already")
    wheels = args.output / "wheels"
    wheels.mkdir(parents=True)
    found = collect(Target(args.python, read_installed(args.have)), wheels)
    if args.cuda and "bitsandbytes" in found:
        keep_kernels(found["bitsandbytes"][0], args.cuda)
    for name, (wheel, source) in found.items():
        print(f"{size_of(wheel) / MB:8.2f} MB  {name} {version_of(wheel)}, for {source}")
    parts = split([wheel for wheel, _ in found.values()], args.part_mb * MB)
    for number, part in enumerate(parts, 1):
        here = wheels if len(parts) == 1 else args.output / f"wheels-{number}"
        here.mkdir(exist_ok=True)
        moved = [Path(shutil.move(wheel, here / wheel.name)) for wheel in part]
        print(f"{sum(map(size_of, moved)) / MB:8.2f} MB  {here}: {len(moved)} wheels")
    if args.config_dir:
        shutil.copytree(args.config_dir, args.output / "config")


if __name__ == "__main__":
    main()
