"""Every metric, declared once: name, labels, direction, aggregation, and the two per-sample columns whose sums it divides.

Writing each metric as a ratio of two sums over samples is what lets one pass serve the whole set, each group of it,
and each resample of a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UserError

Direction = Literal["lower", "higher", "one"]
Aggregation = Literal["corpus", "mean"]


@dataclass(frozen=True)
class Metric:
    """A figure: the sum of ``numerator`` over all samples divided by the sum of ``denominator``.

    Attributes:
        name: key in ``scores.json``, in the logs after ``eval_``.
        label: what reports call it; ``short``: what tables on the terminal and verdicts call it.
        direction: ``lower`` or ``higher`` is better, or the nearer to ``one`` the better.
        aggregation: ``corpus`` weighs samples by their length, ``mean`` counts each sample once.
        numerator: attribute of ``SampleScore``.
        denominator: attribute of ``SampleScore``; a sum of 0 makes the figure None.
        description: the formula in words, for tables and reports.
    """

    name: str
    label: str
    short: str
    direction: Direction
    aggregation: Aggregation
    numerator: str
    denominator: str
    description: str


_ALL = (
    Metric(
        "corpus_cer",
        "Character error rate",
        "CER",
        "lower",
        "corpus",
        "edits",
        "characters",
        "character error rate of the corpus: all edits / all characters of the truths; above 1 when a page loops",
    ),
    Metric(
        "mean_cer",
        "Mean CER of samples",
        "mean CER",
        "lower",
        "mean",
        "clipped_cer",
        "one",
        "mean of the samples' character error rates, each clipped at 1; "
        "an empty truth gives 0 if read as empty, else 1",
    ),
    Metric(
        "corpus_wer",
        "Word error rate",
        "WER",
        "lower",
        "corpus",
        "word_edits",
        "words",
        "word error rate of the corpus: all word edits / all words of the truths, cut at white space",
    ),
    Metric(
        "mean_wer",
        "Mean WER of samples",
        "mean WER",
        "lower",
        "mean",
        "clipped_wer",
        "one",
        "mean of the samples' word error rates, each clipped at 1",
    ),
    Metric(
        "exact_match",
        "Exact match",
        "exact",
        "higher",
        "mean",
        "exact",
        "one",
        "share of predictions equal to their truth after text normalisation",
    ),
    Metric(
        "normalized_edit_distance",
        "Normalised edit distance",
        "edit distance",
        "lower",
        "mean",
        "normalized_edit_distance",
        "not_both_empty",
        "mean of edits / length of the longer text, in code points (OmniDocBench 1.5 edit_sample_avg); "
        "samples with both texts empty are left out, as there",
    ),
    Metric(
        "normalized_edit_distance_whole",
        "Edit distance, whole corpus",
        "edit distance, whole",
        "lower",
        "corpus",
        "code_point_edits",
        "longer_length",
        "all edits / sum of the lengths of the longer texts, in code points (OmniDocBench 1.5 edit_whole)",
    ),
    Metric(
        "stop_rate",
        "Stopped by itself",
        "stops",
        "higher",
        "mean",
        "stopped_by_token",
        "stop_known",
        "share of predictions ended by a stop token, among those where it is known",
    ),
    Metric(
        "repetition_rate",
        "Ends in a loop",
        "loops",
        "lower",
        "mean",
        "looping",
        "one",
        "share of predictions that end in one unit of up to 200 characters repeated 4 times or more: "
        "at least 20 characters longer than the truth has it, or, where the unit holds a word, more than 2 units longer",
    ),
    Metric(
        "length_ratio",
        "Length ratio",
        "length",
        "one",
        "corpus",
        "prediction_characters",
        "characters",
        "all characters of the predictions / all characters of the truths",
    ),
    Metric(
        "teds",
        "Tables, TEDS",
        "TEDS",
        "higher",
        "mean",
        "table_similarity",
        "has_table",
        "mean tree-edit-distance similarity of the HTML tables (TEDS), over the samples that are asked with "
        "'Table Recognition:' and whose truth holds a table; a truth too large to compare is left out, a prediction "
        "many times larger than its truth counts as 0",
    ),
    Metric(
        "teds_structure",
        "Tables, TEDS of the structure",
        "TEDS structure",
        "higher",
        "mean",
        "table_structure_similarity",
        "has_table",
        "TEDS of rows, cells and spans alone, without the text of the cells",
    ),
    Metric(
        "formula_edit_distance",
        "Formulas, edit distance",
        "formula edits",
        "lower",
        "mean",
        "formula_edit_distance",
        "is_formula",
        "mean of edits / tokens of the longer formula, in LaTeX tokens after LaTeX normalisation, over the samples "
        "that are asked with 'Formula Recognition:'",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def find_metric(name: str) -> Metric:
    """Return the metric called ``name``; raise :class:`UserError` naming those there are."""
    if name not in METRICS:
        raise UserError(f"metric {name!r} is not known; expected one of: {', '.join(METRICS)}")
    return METRICS[name]
