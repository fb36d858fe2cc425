"""The page: what the template shows, from scores, facts and rows."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..metrics import METRICS, GroupScore, Scores
from ..metrics.samples import SampleScore
from .contents import Report
from .figures import figure, interval, visible, way, whole_words
from .pictures import Album
from .run_files import RunFacts
from .sample_charts import sample_charts, training_charts
from .samples import Row, add_pictures, add_table_notes, embedded_json, sample_rows, suspect_row, within_budget
from .verdict import Verdict, verdict_alone, verdict_of, verdict_on_base, verdict_without_readings

TEXT_BUDGET = 10_000_000
PICTURE_BUDGET = 12_000_000
SUSPECT_BUDGET = 1_000_000
MAX_CONFUSIONS = 60
MAX_SUSPECTS = 300
# Above this mean CER more than one in four pairs of characters that an alignment puts beside each other were never
# taken for each other (measured on English and Latin lines with known substitutions).
MAX_ALIGNED_CER = 0.6


def render(report: Report) -> str:
    """The whole page as one string."""
    album = Album(PICTURE_BUDGET)
    script = _asset("page.js")
    evaluation = _evaluation(report, album) if report.systems else {"scores": None}
    return _template().render(
        style=Markup(_asset("page.css")),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704 - the package's own file
        script_hash=b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        verdict=_verdict(report),
        compared=report.comparison is not None,
        facts=_facts(report.facts),
        training_charts=training_charts(report),
        set_aside=report.facts.set_aside,
        album=album,
        **evaluation,
        **_suspects(report, album),
    )


def _evaluation(report: Report, album: Album) -> dict[str, Any]:
    """What the page shows of readings."""
    rows = _listed_rows(report, album)
    return {
        "systems": report.systems,
        "scores": report.judged,
        "resampled": _resampled(report.judged),
        "metrics": [_metric_row(report, name) for name in METRICS if _is_defined(report, name)],
        "groups": _groups(report),
        "sample_charts": sample_charts(report),
        "not_aligned": _not_aligned(report.judged),
        "confusions": _confusions(report, {row["id"] for row in rows}),
        "scripts": _scripts(report),
        "num_listed": len(rows),
        "samples": _table(rows, [system.name for system in report.systems], "Truth", "worst first"),
    }


def _suspects(report: Report, album: Album) -> dict[str, Any]:
    """What the page shows of suspect labels."""
    rows = _suspect_rows(report, album)
    return {
        "num_suspects": len(report.facts.suspects),
        "num_suspects_listed": len(rows),
        "suspects": _table(rows, ["Model reads"], "Label", "most suspect first"),
    }


def _facts(facts: RunFacts) -> dict[str, Any]:
    """What is known of the run, in words; of the comparison of a probe, its verdict."""
    shown = {
        name: value.get("verdict_text") if isinstance(value, dict) else value for name, value in facts.facts.items()
    }
    return {name: value for name, value in shown.items() if value not in (None, "", [])}


def _verdict(report: Report) -> Verdict:
    if report.comparison:
        return verdict_of(report.comparison, report.facts.next_step)
    if not report.systems:
        return verdict_without_readings(report.facts)
    alone = report.systems[-1]
    return verdict_on_base(alone.scores, report.facts) if alone.key == "base" else verdict_alone(alone.scores)


def _table(rows: Sequence[Row], systems: Sequence[str], truth: str, order: str) -> Markup:
    """The data of one table of rows: what the page calls the systems, the truth, and the order of the rows."""
    table = {"rows": rows, "systems": systems, "truth": truth, "order": order}
    return Markup(embedded_json(table))  # noqa: S704 - escaped for a script element


# Assets


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "figure": figure,
        "interval": interval,
        "visible": visible,
        "way": way,
        "whole_words": whole_words,
    }
    return environment.from_string(_asset("page.html.j2"))


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


# Tables


def _resampled(scores: Scores) -> str:
    """What the intervals draw from; empty when there are none."""
    interval = scores.overall.intervals["corpus_cer"]
    return f"{interval.num_units:,} {interval.resampled}" if interval else ""


def _is_defined(report: Report, name: str) -> bool:
    return any(system.scores.values[name] is not None for system in report.systems)


def _metric_row(report: Report, name: str) -> dict[str, Any]:
    difference = report.comparison.differences[name] if report.comparison else None
    return {
        "name": name,
        "label": METRICS[name].label,
        "description": METRICS[name].description,
        "direction": METRICS[name].direction,
        "groups": [system.scores.overall for system in report.systems],
        "difference": difference,
    }


def _groups(report: Report) -> list[dict[str, Any]]:
    """The summaries by source and by prompt, where there are several."""
    found = []
    for title in ("source", "prompt"):
        groups: list[dict[str, GroupScore]] = [getattr(system.scores, f"by_{title}") for system in report.systems]
        if len(groups[-1]) > 1:
            rows = [(name, [by_name.get(name) for by_name in groups]) for name in groups[-1]]
            found.append({"title": title, "rows": rows})
    return found


def _not_aligned(scores: Scores) -> str | None:
    """Why no characters are counted as taken for others; None where they are."""
    cer = scores.values["mean_cer"] or 0.0
    if cer <= MAX_ALIGNED_CER:
        return None
    return (
        f"Not shown: at a mean CER of {figure(cer)} truths and readings have so little in common that characters "
        f"stand beside each other by chance. Shown up to {100 * MAX_ALIGNED_CER:.0f} %."
    )


def _confusions(report: Report, listed: set[str]) -> list[dict[str, Any]]:
    """The judged system's most frequent confusions, with the base's count of the same one and listed examples."""
    others = [{(one.truth, one.prediction): one.count for one in system.scores.confusions} for system in report.systems]
    return [
        {
            "truth": one.truth,
            "prediction": one.prediction,
            "counts": [counts.get((one.truth, one.prediction), 0) for counts in others],
            "examples": [name for name in one.examples if name in listed],
        }
        for one in report.judged.confusions[:MAX_CONFUSIONS]
    ]


def _scripts(report: Report) -> list[dict[str, Any]]:
    by_name = [{one.script: one for one in system.scores.scripts} for system in report.systems]
    return [
        {"name": one.script, "characters": one.characters, "readings": [found.get(one.script) for found in by_name]}
        for one in report.judged.scripts
    ]


# Rows


def _listed_rows(report: Report, album: Album) -> list[Row]:
    """The worst samples first, at most ``max_samples`` of them and as many as the page has room for."""
    paired = report.paired
    order = sorted(range(len(paired[-1])), key=lambda index: _badness(paired[-1][index]), reverse=True)
    chosen = order[: report.max_samples]
    systems = [[samples[index] for index in chosen] for samples in paired]
    rows = within_budget(list(sample_rows(systems, report.settings)), TEXT_BUDGET)
    add_table_notes(rows, [system.scores.tables for system in report.systems])
    add_pictures(rows, report.folder, album)
    return rows


def _badness(sample: SampleScore) -> tuple[float, int]:
    return sample.character_error_rate, sample.edits


def _suspect_rows(report: Report, album: Album) -> list[Row]:
    rows = [
        suspect_row(suspect.reading, suspect.score, suspect.doubted, report.settings)
        for suspect in report.facts.suspects[:MAX_SUSPECTS]
    ]
    kept = within_budget(rows, SUSPECT_BUDGET)
    add_pictures(kept, report.facts.folder, album)
    return kept
