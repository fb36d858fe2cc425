"""The page's charts: losses and error rates by step, samples by error rate, error rates by size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from ..inputs.images import ImageError, read_size
from ..metrics.reading import Reading
from ..metrics.samples import SampleScore
from .charts import bar_chart, binned_chart, line_chart, percent
from .contents import Report

MAX_BINS = 6
Chart = tuple[str, Markup, list[tuple[str, str]]]

_CER_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CER_BINS = ("0", "≤ 2", "≤ 5", "≤ 10", "≤ 20", "≤ 50", "≤ 100", "> 100")


def training_charts(report: Report) -> list[Chart]:
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


def sample_charts(report: Report) -> list[Chart]:
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
) -> list[Chart]:
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
