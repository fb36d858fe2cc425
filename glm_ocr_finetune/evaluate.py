"""Reading a set of samples and scoring what was read: with a model, or from anybody's predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from .args import DEFAULT_PROMPT, DEFAULT_PROMPT_FORMAT, DataArguments
from .command_args import EvaluateArguments
from .data.samples import sample_of
from .data.splits import Splits, load_splits
from .data_sets import data_sets_of
from .errors import UserError
from .folders import PREDICTIONS_FILE, SCORES_FILE, check_writable
from .inputs.processor import set_pixel_budget
from .inputs.prompt import PromptRenderer
from .metrics import (
    GroupScore,
    Predictions,
    Reading,
    Scores,
    ScoringSettings,
    read_predictions,
    score,
    score_with_tables,
)
from .model.loading import load_for_reading
from .ranks import console, is_main_process, join_ranks
from .reading.asking import how_to_ask
from .reading.samples import read_samples, reading_of, write_predictions
from .reading.sdk import REPETITION_PENALTY
from .reading.suspects import find_suspects, write_suspects
from .vision.encoder import VisionEncoder, cache_of_an_earlier_run

logger = logging.getLogger(__name__)

HEADLINES = {
    "corpus_cer": "CER",
    "mean_cer": "mean CER",
    "corpus_wer": "WER",
    "exact_match": "exact",
    "stop_rate": "stops",
    "repetition_rate": "loops",
}
PLAIN_FILE = "plain.jsonl"  # with --like: the same samples, greedily from the images as they are
MOST_GROUPS = 20  # lines of the table for one kind of group; a file a page makes hundreds, which are in scores.json
TASK_HEADLINES = {"teds": "TEDS", "teds_structure": "TEDS structure", "formula_edit_distance": "formula edits"}


def evaluate(args: EvaluateArguments) -> int:
    """Score and print. Returns the exit code; under torchrun all ranks read, and the first one scores and writes."""
    settings = ScoringSettings(args.text_normalisation, args.cer_unit)  # type: ignore[arg-type]
    if not args.dataset_name and not args.predictions:
        raise UserError("--dataset_name is required, unless each line of --predictions has its own 'text'")
    output = Path(args.output_dir)
    join_ranks()
    _check_like(args)
    check_writable(output)
    predictions = _predictions(args, output)
    if not is_main_process():
        return 0
    scores = score_with_tables(predictions.readings, settings)
    output.mkdir(parents=True, exist_ok=True)
    written = scores.to_dict() | {"missing": predictions.missing, "unmatched": predictions.unmatched}
    (output / SCORES_FILE).write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    show_scores(scores)
    logger.info("scores in %s", output / SCORES_FILE)
    return 0


def _check_like(args: EvaluateArguments) -> None:
    if args.like and args.predictions:
        raise UserError(f"--like {args.like} needs a model to read with: give --model instead of --predictions")
    if args.like and args.repetition_penalty != 1.0:
        raise UserError(
            f"--like {args.like} has a --repetition_penalty of its own, {REPETITION_PENALTY}; leave yours out"
        )


def _device_map(args: EvaluateArguments) -> str:
    """Where to load: as asked, or under torchrun each rank on its own device instead of spread over all."""
    from accelerate import PartialState

    state = PartialState()
    return str(state.device) if args.device_map == "auto" and state.num_processes > 1 else args.device_map


def _predictions(args: EvaluateArguments, output: Path) -> Predictions:
    if args.predictions and args.find_label_errors:
        raise UserError("--find_label_errors True needs a model to read with: give --model instead of --predictions")
    if args.predictions and args.speculative:
        raise UserError("--speculative True needs a model to read with: give --model instead of --predictions")
    if args.predictions and not args.dataset_name:
        return _paired(args, None, output)
    if args.predictions:
        renderer = PromptRenderer(_any_processor(), args.prompt_format or DEFAULT_PROMPT_FORMAT)
        samples = _load(args, renderer, DEFAULT_PROMPT if args.asked_prompt is None else args.asked_prompt, output)
        truths = [reading_of(sample_of(row)) for row in samples.train]
        return _paired(args, truths, output)
    asking = how_to_ask(args.model, args.adapter, args.asked_prompt, args.prompt_format)
    model, processor, _ = load_for_reading(args.model, args.adapter, _device_map(args))
    set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, asking.prompt_format)
    samples = _load(args, renderer, asking.prompt, output)
    return Predictions(tuple(_read(args, model, renderer, samples, output)), (), ())


def _read(args: EvaluateArguments, model: Any, renderer: PromptRenderer, splits: Splits, output: Path) -> list[Reading]:
    """Read all samples with the model, and look for label errors where asked; what is found goes to ``output``."""
    from .reading.speculative import speculation_for

    speculation = speculation_for(model, args.model, args.adapter) if args.speculative else None
    read = partial(
        read_samples,
        model,
        renderer,
        splits.train,
        splits.train_tokens.tolist(),
        args.batch_size,
        args.max_new_tokens,
        speculation=speculation,
    )
    encoder = VisionEncoder(cache_of_an_earlier_run(model, renderer.processor))
    readings = plain = read(args.repetition_penalty, encoder=encoder)
    if args.like:
        readings = read(REPETITION_PENALTY, like_sdk=True)
    if speculation:
        logger.info("%s", speculation.of_all_ranks())
    if is_main_process():
        write_predictions(readings, output / PREDICTIONS_FILE)
        if args.like:
            write_predictions(plain, output / PLAIN_FILE)
            logger.info("%s", sdk_difference(plain, readings, ScoringSettings(args.text_normalisation, args.cer_unit)))  # type: ignore[arg-type]
    if args.find_label_errors:
        suspects = find_suspects(model, renderer, splits.train, readings, args.batch_size or 8)
        if is_main_process():
            logger.info("labels ranked by suspicion, most suspicious first: %s", write_suspects(suspects, output))
    return readings


def sdk_difference(plain: Sequence[Reading], like_sdk: Sequence[Reading], settings: ScoringSettings) -> str:
    """How many readings the SDK's way of sending changes, and what it does to the error rate."""
    before, after = (score(readings, settings).values["corpus_cer"] for readings in (plain, like_sdk))
    changed = sum(one.prediction != other.prediction for one, other in zip(plain, like_sdk, strict=True))
    return (
        f"as the official SDK sends them, {changed} of {len(plain)} images are read otherwise than greedily from the images "
        f"as they are: CER {before:.4f} -> {after:.4f}; plain readings in {PLAIN_FILE}"
    )


def _paired(args: EvaluateArguments, truths: Sequence[Reading] | None, output: Path) -> Predictions:
    """Somebody's predictions beside their truths, kept as evaluate writes its own, for the report."""
    predictions = read_predictions(str(args.predictions), truths)
    if is_main_process():
        logger.info("%s", predictions)
        file = output / PREDICTIONS_FILE
        if file.resolve() != Path(str(args.predictions)).resolve():
            write_predictions(predictions.readings, file)
    return predictions


def _any_processor() -> Any:
    from .inputs.processor import load_processor
    from .model.tiny import tiny_path

    return load_processor(tiny_path("tiny"))  # only to walk the samples; nothing is read with it


def _load(args: EvaluateArguments, renderer: PromptRenderer, prompt: str, output: Path) -> Splits:
    """The samples to be judged on; rows that cannot be used are told and listed in ``output``."""
    data_args = DataArguments.of(args, train_split=args.split, prompt=prompt, task=None)
    if shared := [one.name for one in data_sets_of(data_args) if one.share is not None]:
        raise UserError(f"--dataset_name: a share is for training only; give {shared[0]} without one")
    splits = load_splits(data_args, renderer, max_length=None, seed=0, evaluate=False)
    if splits.set_aside and is_main_process():
        output.mkdir(parents=True, exist_ok=True)
        file = splits.write_set_aside(output)
        reasons = ", ".join(f"{count} {reason}" for reason, count in splits.set_aside_by_reason().items())
        logger.warning("set aside: %s; listed in %s", reasons, file)
    return splits


def show_scores(scores: Scores) -> None:
    """The summary on standard output; tables and formulas have a second one, where there are such."""
    out = console()
    out.print(_summary(scores, HEADLINES))
    asked = {name: title for name, title in TASK_HEADLINES.items() if scores.values[name] is not None}
    if asked:
        out.print(_summary(scores, asked))
    out.print(str(scores.settings))


def _summary(scores: Scores, columns: Mapping[str, str]) -> Table:
    """Some figures of all samples, and by prompt and by source where there are a few and any figure is defined."""
    table = Table(Column("", overflow="fold"))
    for title in ("count", *columns.values()):
        table.add_column(title, no_wrap=True)
    rows = {"all": scores.overall}
    for name, groups in (("prompt", scores.by_prompt), ("source", scores.by_source)):
        if 1 < len(groups) <= MOST_GROUPS:
            rows |= {f"{name} {key}": group for key, group in groups.items()}
    for name, group in rows.items():
        if any(group.values[column] is not None for column in columns):
            table.add_row(name, *_cells(group, columns))
    return table


def _cells(group: GroupScore, columns: Iterable[str]) -> list[str]:
    values = (group.values[name] for name in columns)
    return [str(group.count), *("-" if value is None else f"{value:.4f}" for value in values)]
