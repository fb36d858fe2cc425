"""The page: what the template shows, from scores, facts and rows."""

from __future__ import annotations

import hashlib
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..inputs.images import ImageError, read_size
from ..metrics import METRICS, Comparison, GroupScore, Interval, Scores
from ..metrics.reading import Reading
from ..metrics.samples import SampleScore
from .charts import bar_chart, binned_chart, line_chart, percent
from .inputs import RunFacts
from .pictures import Album
from .samples import Row, add_pictures, embedded_json, sample_rows, suspect_row, within_budget

TEXT_BUDGET = 10_000_000
PICTURE_BUDGET = 7_000_000
SUSPECT_BUDGET = 1_000_000
MAX_CONFUSIONS = 60
MAX_SUSPECTS = 300
MAX_BINS = 6

_CER_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CER_BINS = ("0", "≤ 2", "≤ 5", "≤ 10", "≤ 20", "≤ 50", "≤ 100", "> 100")
_LABELS = {
    "corpus_cer": "Character error rate",
    "mean_cer": "Mean CER of samples",
    "corpus_wer": "Word error rate",
    "mean_wer": "Mean WER of samples",
    "exact_match": "Exact match",
    "normalized_edit_distance": "Normalised edit distance",
    "normalized_edit_distance_whole": "Edit distance, whole corpus",
    "stop_rate": "Stopped by itself",
    "repetition_rate": "Ends in a loop",
    "length_ratio": "Length ratio",
    "teds": "Tables, TEDS",
    "teds_structure": "Tables, TEDS of the structure",
    "formula_edit_distance": "Formulas, edit distance",
}
_NAMES = {" ": "space", "\n": "line break", "\t": "tab", "": "nothing"}


@dataclass(frozen=True)
class System:
    """One reader: ``key`` is its CSS class, ``name`` what the page calls it."""

    key: str
    name: str
    scores: Scores


@dataclass(frozen=True)
class Report:
    """What a page is made of; the last system is the one that is judged."""

    systems: Sequence[System]
    comparison: Comparison | None
    facts: RunFacts
    folder: Path
    max_samples: int

    @property
    def judged(self) -> Scores:
        return self.systems[-1].scores

    @cached_property
    def paired(self) -> list[list[SampleScore]]:
        """The samples of each system, all in the order of the judged one."""
        ids = [sample.reading.id for sample in self.judged.samples]
        by_id = [{sample.reading.id: sample for sample in system.scores.samples} for system in self.systems]
        return [[samples[name] for name in ids] for samples in by_id]


def render(report: Report) -> str:
    """The whole page as one string."""
    album = Album(PICTURE_BUDGET)
    rows = _listed_rows(report, album)
    suspects = _suspect_rows(report, album)
    script = _asset("page.js")
    return _template().render(
        style=Markup(_asset("page.css")),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704 - the package's own file
        script_hash=b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        verdict=_verdict(report.comparison),
        facts={name: value for name, value in report.facts.facts.items() if value not in (None, "", [])},
        systems=report.systems,
        scores=report.judged,
        resampled=_resampled(report.judged),
        metrics=[_metric_row(report, name) for name in METRICS if _is_defined(report, name)],
        groups=_groups(report),
        training_charts=_training_charts(report),
        sample_charts=_sample_charts(report),
        confusions=_confusions(report, {row["id"] for row in rows}),
        scripts=_scripts(report),
        set_aside=report.facts.set_aside,
        num_listed=len(rows),
        num_suspects=len(report.facts.suspects),
        num_suspects_listed=len(suspects),
        album=album,
        tables={
            "samples": _table(rows, [system.name for system in report.systems], "Truth", "worst first"),
            "suspects": _table(suspects, ["Model reads"], "Label", "most suspect first"),
        },
    )


def _table(rows: Sequence[Row], systems: Sequence[str], truth: str, order: str) -> Markup:
    """The data of one table of rows: what the page calls the systems, the truth, and the order of the rows."""
    table = {"rows": rows, "systems": systems, "truth": truth, "order": order}
    return Markup(embedded_json(table))  # noqa: S704 - escaped for a script element


# Assets


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "interval": _interval, "visible": visible}
    return environment.from_string(_asset("page.html.j2"))


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


# Words and figures


def _verdict(comparison: Comparison | None) -> dict[str, str] | None:
    """The kind of verdict, its headline, and the figures it rests on."""
    if comparison is None:
        return None
    headline, _, _ = str(comparison).partition(":")
    decisive = comparison.decisive
    name = decisive.metric.name
    figures = f"{_LABELS[name]} {_figure(decisive.base, name)} → {_figure(decisive.tuned, name)}"
    interval = decisive.interval
    if interval is None:
        return {"kind": comparison.verdict, "headline": headline, "figures": f"{figures}; too few samples to judge by."}
    bounds = f"95 % interval {_interval(interval, name, signed=True)}"
    figures += f"; difference {_figure(decisive.difference, name, signed=True)} ({bounds})"
    return {"kind": comparison.verdict, "headline": headline, "figures": figures + "."}


def _figure(value: float | None, name: str = "corpus_cer", signed: bool = False) -> str:
    """A metric's value as text: per cent, a signed difference in percentage points; the length ratio as it is."""
    if value is None:
        return "–"
    value = round(value, 5) or 0.0
    sign = "+" if signed and value else ""
    unit = "pp" if signed else "%"
    text = f"{value:{sign}.3f}" if name == "length_ratio" else f"{100 * value:{sign}.2f} {unit}"
    return text.replace("-", "−")


def _interval(interval: Interval | None, name: str = "corpus_cer", signed: bool = False) -> str:
    if interval is None:
        return ""
    low, high = (_figure(value, name, signed) for value in (interval.low, interval.high))
    return f"{low.split()[0]} to {high}"


def _resampled(scores: Scores) -> str:
    """What the intervals draw from; empty when there are none."""
    interval = scores.overall.intervals["corpus_cer"]
    return f"{interval.num_units:,} {interval.resampled}" if interval else ""


def visible(unit: str) -> str:
    """A character as it can be seen in a table: blanks by name, loose marks on a dotted circle."""
    if unit in _NAMES:
        return _NAMES[unit]
    if unit.isspace() or unicodedata.category(unit[0]) in ("Cc", "Cf"):
        return " ".join(f"U+{ord(character):04X}" for character in unit)
    return "◌" + unit if unicodedata.combining(unit[0]) or unicodedata.category(unit[0]).startswith("M") else unit


# Tables


def _is_defined(report: Report, name: str) -> bool:
    return any(system.scores.values[name] is not None for system in report.systems)


def _metric_row(report: Report, name: str) -> dict[str, Any]:
    difference = report.comparison.differences[name] if report.comparison else None
    return {
        "name": name,
        "label": _LABELS.get(name, name.replace("_", " ").capitalize()),
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
    rows = within_budget(list(sample_rows(systems, report.judged.settings)), TEXT_BUDGET)
    add_pictures(rows, report.folder, album)
    return rows


def _badness(sample: SampleScore) -> tuple[float, int]:
    return sample.character_error_rate, sample.edits


def _suspect_rows(report: Report, album: Album) -> list[Row]:
    settings = report.judged.settings
    rows = [
        suspect_row(suspect.reading, suspect.score, suspect.doubted, settings)
        for suspect in report.facts.suspects[:MAX_SUSPECTS]
    ]
    kept = within_budget(rows, SUSPECT_BUDGET)
    add_pictures(kept, report.facts.folder, album)
    return kept


# Charts


def _training_charts(report: Report) -> list[tuple[str, Markup, list[tuple[str, str]]]]:
    """Title, drawing and legend (CSS class, name) of each chart that has data."""
    charts = []
    losses = {"train": report.facts.curve("loss"), "tuned": report.facts.curve("eval_loss")}
    if any(losses.values()):
        legend = [(key, name) for key, name in (("train", "Training"), ("tuned", "Evaluation")) if losses[key]]
        charts.append(("Loss", line_chart("Loss by step", losses, "step"), legend))
    cers = report.facts.curve("eval_cer")
    if cers:
        level = report.systems[0].scores.values["corpus_cer"] if report.comparison else None
        legend = [("tuned", "Tuned"), *([("level", "Base")] if level is not None else [])]
        drawing = line_chart("Character error rate by step", {"tuned": cers}, "step", percent, level)
        charts.append(("Character error rate in training", drawing, legend))
    return charts


def _sample_charts(report: Report) -> list[tuple[str, Markup, list[tuple[str, str]]]]:
    legend = [(system.key, system.name) for system in report.systems] if report.comparison else []
    histogram = {
        system.key: _histogram([sample.character_error_rate for sample in system.scores.samples])
        for system in report.systems
    }
    charts = [("Samples by CER", bar_chart("Samples by CER", _CER_BINS, histogram, "CER of a sample, %"), legend)]
    lengths: list[int | None] = [sample.characters for sample in report.judged.samples]
    charts += _rate_by(report, lengths, "CER by length of the truth", "characters", legend)
    heights = [_image_height(report.folder, sample.reading) for sample in report.judged.samples]
    charts += _rate_by(report, heights, "CER by height of the image", "pixels", legend)
    return charts


def _histogram(rates: Sequence[float]) -> list[int]:
    counts = [0] * len(_CER_BINS)
    for rate in rates:
        counts[sum(rate > edge for edge in _CER_EDGES)] += 1
    return counts


def _rate_by(
    report: Report, sizes: Sequence[int | None], title: str, unit: str, legend: list[tuple[str, str]]
) -> list[tuple[str, Markup, list[tuple[str, str]]]]:
    """Corpus CER of each bin of sizes; no chart when nothing is known or all sizes are one."""
    bins = _size_bins([size for size in sizes if size is not None])
    if len(bins) < 2:
        return []
    members = [[i for i, size in enumerate(sizes) if size is not None and low <= size <= high] for low, high in bins]
    series = {
        system.key: [_corpus_cer([samples[i] for i in inside]) for inside in members]
        for system, samples in zip(report.systems, report.paired, strict=True)
    }
    names = [str(low) if low == high else f"{low}–{high}" for low, high in bins]
    return [(title, binned_chart(title, names, series, [len(inside) for inside in members], unit), legend)]


def _size_bins(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """At most ``MAX_BINS`` ranges (both ends included) with about the same number of samples in each."""
    ordered = sorted(sizes)
    bins: list[tuple[int, int]] = []
    start = 0
    for number in range(1, MAX_BINS + 1):
        end = max(start, len(ordered) * number // MAX_BINS)
        while start < end < len(ordered) and ordered[end] == ordered[end - 1]:
            end += 1
        if end > start:
            bins.append((ordered[start], ordered[end - 1]))
        start = end
    return bins


def _corpus_cer(samples: Sequence[SampleScore]) -> float:
    return sum(sample.edits for sample in samples) / max(1, sum(sample.characters for sample in samples))


def _image_height(folder: Path, reading: Reading) -> int | None:
    if not reading.image:
        return None
    try:
        return read_size({"bytes": None, "path": str(folder / reading.image), "region": reading.region})[0]
    except ImageError:
        return None
