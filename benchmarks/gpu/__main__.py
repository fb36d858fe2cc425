"""Prove this project on a GPU, or run the same on a CPU with the tiny model.

    python -m benchmarks.gpu --output gpu.json

Nothing is read but this repository, installed packages and the small files of the real model; nothing is fetched.
The table goes to the terminal, and with all its figures to the JSON file, which is written anew after every case.
``docs/gpu.md`` says what each row means. On a GPU each section runs in a process of its own within its own time; on a
CPU one process runs all of them, because importing takes longer there than what is measured. The exit code is 0 when
no case failed and no figure is off.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from .cases import Place
from .processes import run_cases
from .rows import FAILED, NOT_RUN, OK, Row, summary, table
from .sections import LIMITS_S, SECTIONS

CONFIG_DIR = Path(__file__).parents[3] / "shared" / "glm-ocr"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file")
    parser.add_argument(
        "--config_dir", type=Path, default=CONFIG_DIR, help="small files of the real model: %(default)s"
    )
    parser.add_argument("--sections", nargs="+", choices=[*SECTIONS][1:], default=[*SECTIONS][1:])
    parser.add_argument("--seconds", type=float, default=780, help="all sections together: %(default)s")
    parser.add_argument("--depth", type=int, help="layers of either kind of the full-size model, for a trial on a CPU")
    parser.add_argument("--llamafactory", default="", help="virtual environment or folder of packages that has it")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends its processes, too
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), args.config_dir.absolute(), args.depth, args.llamafactory)
        place.write()
        rows = run_sections(place, args.sections, args.seconds, writer(args.output, vars(args)))
    print(f"\n{table(rows)}\n\n{summary(rows)}; all figures: {args.output}")
    return 0 if all(row.state in (OK, NOT_RUN) for row in rows) else 1


def run_sections(place: Place, sections: list[str], seconds: float, report: Callable[[Row], None]) -> list[Row]:
    """The rows of ``setup`` and of the sections; without the first there are no others."""
    deadline = time.monotonic() + seconds
    rows = run_cases(place.folder, named(["setup"]), min(deadline, time.monotonic() + LIMITS_S["setup"]), report)
    if rows[-1].state == FAILED:
        return rows + [Row(section, case, NOT_RUN, "setup failed") for section, case in named(sections)]
    if not Place.read(place.folder).on_gpu:
        return rows + run_cases(place.folder, named(sections), deadline, report)
    for section in sections:
        limit = min(deadline, time.monotonic() + LIMITS_S[section])
        rows += run_cases(place.folder, named([section]), limit, report)
    return rows


def named(sections: list[str]) -> list[tuple[str, str]]:
    """All cases of some sections."""
    return [(section, case) for section in sections for case in SECTIONS[section]]


def writer(output: Path, arguments: dict[str, object]) -> Callable[[Row], None]:
    """What shows a row as it comes, and writes all that have come to the JSON file."""
    rows: list[Row] = []
    told = {
        name: value if isinstance(value, int | float | list | None) else str(value) for name, value in arguments.items()
    }

    def report(row: Row) -> None:
        rows.append(row)
        print(f"{row.section}: {row.case}: {row.state}: {row.found} ({row.seconds:.1f} s)", flush=True)
        found = {"arguments": told, "rows": [asdict(row) for row in rows]}
        output.write_text(json.dumps(found, indent=1), encoding="utf-8")

    return report


if __name__ == "__main__":
    sys.exit(main())
