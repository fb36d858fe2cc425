"""What the page says first: better, worse or not to be told, whether it is usable, what speaks against it, what next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..metrics import MIN_UNITS, USABLE_CER, Comparison, Difference, Scores
from .figures import figure, interval
from .run_files import RunFacts

Kind = Literal["better", "mixed", "worse", "open"]


@dataclass(frozen=True)
class Verdict:
    """The head of the page.

    Attributes:
        kind: its colour: ``better`` is green, ``worse`` a warning; ``mixed`` is better with something against it.
        headline: one sentence without a full stop.
        figures: sentences below it.
        contradictions: figures that point the other way, one each.
        next_step: what to do; None where nothing is to be done.
    """

    kind: Kind
    headline: str
    figures: str
    contradictions: Sequence[str] = ()
    next_step: str | None = None


def verdict_of(comparison: Comparison, advice: str | None = None) -> Verdict:
    """The verdict on a tuned model beside its base; ``advice`` is what the run itself said is to be done next."""
    contradictions = [_line(one) for one in comparison.contradictions]
    next_step = advice or comparison.next_step
    return Verdict(_kind(comparison), comparison.headline, _figures(comparison), contradictions, next_step)


def verdict_alone(scores: Scores) -> Verdict:
    """The verdict on one reader with nothing to compare with."""
    cer = scores.values["corpus_cer"]
    limit = ": not usable yet, 10 % or less is" if cer is not None and cer > USABLE_CER else ""
    return Verdict("open", f"{_wrong(scores)}{limit}", "One reader, no base to compare with.")


def verdict_on_base(scores: Scores, facts: RunFacts) -> Verdict:
    """What is said of a run that read with its base and not yet with what it trained."""
    headline = f"Only the base was read: {_wrong(scores)}"
    figures = "Nothing was read with the tuned model: the run has not come to an evaluation."
    return Verdict("open", headline, figures, next_step=f"resume the run, or {_evaluate(facts)}")


def verdict_without_readings(facts: RunFacts) -> Verdict:
    """What is said of a run that read nothing: how it can be made to."""
    losses = "The losses of its training are below." if facts.curve("loss") else "It logged no losses either."
    figures = f"Nothing was read with the tuned model, so nothing is known of how well it reads. {losses}"
    return Verdict("open", "This run was not evaluated", figures, next_step=_evaluate(facts))


def _wrong(scores: Scores) -> str:
    """The share of wrong characters; too few samples to judge by are said first."""
    count, wrong = scores.overall.count, f"{figure(scores.values['corpus_cer'])} of characters are wrong"
    if count >= MIN_UNITS:
        return wrong
    return f"Only {count} {'sample' if count == 1 else 'samples'}, too few to judge by: {wrong}"


def _evaluate(facts: RunFacts) -> str:
    model = facts.folder.name if facts.folder.is_absolute() else facts.folder
    return (
        f"glm-ocr-finetune evaluate --model {model} --dataset_name YOUR_DATA --output_dir evaluation, "
        "then glm-ocr-finetune report --tuned evaluation/predictions.jsonl"
    )


def _kind(comparison: Comparison) -> Kind:
    if comparison.better:
        return "better" if comparison.convincing else "mixed"
    return "worse" if comparison.verdict == "worse" else "open"


def _line(one: Difference) -> str:
    name = one.metric.name
    change = figure(one.difference, name, signed=True)
    return f"{one.metric.label} {figure(one.base, name)} → {figure(one.tuned, name)} ({change})"


def _figures(comparison: Comparison) -> str:
    decisive = comparison.decisive
    name = decisive.metric.name
    figures = f"{decisive.metric.label} {figure(decisive.base, name)} → {figure(decisive.tuned, name)}"
    if decisive.interval is None:
        return f"{figures}; no interval, that takes {MIN_UNITS} readings."
    bounds = f"95 % interval {interval(decisive.interval, name, signed=True)}"
    return f"{figures}; difference {figure(decisive.difference, name, signed=True)} ({bounds})."
