"""One self-contained HTML file on how a model reads: base beside tuned, and every sample to look at."""

from __future__ import annotations

import logging
from pathlib import Path

from ..command_args import ReportArguments
from ..errors import UserError
from ..folders import BASE_READINGS, REPORT_FILE, TUNED_READINGS
from ..metrics import ScoringSettings, compare, score_with_tables
from .contents import Report, System
from .page import render
from .run_files import ReadingFile, RunFacts, check_is_run, read_evaluation, read_readings, read_run, read_run_readings

logger = logging.getLogger(__name__)

MAX_SAMPLES = 10_000

__all__ = ["MAX_SAMPLES", "REPORT_FILE", "build_report", "build_report_of_files", "report"]


def build_report(
    run: Path, output: Path | None = None, settings: ScoringSettings | None = None, max_samples: int = MAX_SAMPLES
) -> Path:
    """Write the report of a training run and return its path, ``RUN/report.html`` unless ``output`` is given.

    Args:
        run: holds, where there are such, ``evaluation/tuned.jsonl`` and ``base.jsonl``, ``summary.json``,
            ``trainer_state.json``, ``set_aside.jsonl`` and ``suspects.jsonl``. Without readings of the tuned model
            the page says so, shows what there is, and says how to get them.
        max_samples: rows of the samples table, the worst ones; the figures are of all samples.

    Raises:
        UserError: no run has written to the folder, a file cannot be used, or base and tuned are not of the same
            samples.
    """
    run = Path(run)
    check_is_run(run)
    base, tuned = (read_run_readings(run, name) for name in (BASE_READINGS, TUNED_READINGS))
    return _write((base, tuned), read_run(run), Path(output or run / REPORT_FILE), settings, max_samples)


def build_report_of_files(
    tuned: Path,
    base: Path | None,
    output: Path,
    settings: ScoringSettings | None = None,
    max_samples: int = MAX_SAMPLES,
) -> Path:
    """Write the report of one or two prediction files (JSONL with truths) to ``output`` and return it.

    The ``suspects.jsonl`` that ``evaluate --find_label_errors True`` wrote beside ``tuned`` is shown as well.

    Raises:
        UserError: as :func:`build_report`.
    """
    found = (read_readings(Path(base)) if base else None, read_readings(Path(tuned)))
    return _write(found, read_evaluation(Path(tuned).parent), Path(output), settings, max_samples)


def report(args: ReportArguments) -> int:
    """The command: report a run, or prediction files. Returns the exit code.

    Raises:
        UserError: neither or both are named, or as :func:`build_report`.
    """
    if (args.run is None) == (args.tuned is None):
        raise UserError("name either --run RUN_FOLDER or --tuned PREDICTIONS.jsonl (with --base to compare)")
    if args.run and args.base:
        raise UserError("--base goes with --tuned; a run brings its own base")
    settings = ScoringSettings(args.text_normalisation, args.cer_unit)  # type: ignore[arg-type]
    if args.run:
        file = build_report(Path(args.run), Path(args.output) if args.output else None, settings)
    else:
        base = Path(args.base) if args.base else None
        file = build_report_of_files(Path(str(args.tuned)), base, Path(args.output or REPORT_FILE), settings)
    logger.info("report in %s", file)
    return 0


def _write(
    found: tuple[ReadingFile | None, ReadingFile | None],
    facts: RunFacts,
    output: Path,
    settings: ScoringSettings | None,
    max_samples: int,
) -> Path:
    page = render(_contents(found, facts, settings, max_samples))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the report: {error}") from error
    return output


def _contents(
    found: tuple[ReadingFile | None, ReadingFile | None],
    facts: RunFacts,
    settings: ScoringSettings | None,
    max_samples: int,
) -> Report:
    """Score what was read, and compare where both were."""
    names = ("Base", "Tuned" if found[0] else "Reading")
    systems = [
        System(key, name, score_with_tables(file.readings, settings))
        for key, name, file in zip(("base", "tuned"), names, found, strict=True)
        if file
    ]
    comparison = compare(systems[0].scores, systems[1].scores) if len(systems) > 1 else None
    folder = next((file.folder for file in reversed(found) if file), facts.folder)
    return Report(systems, comparison, facts, folder, max_samples)
