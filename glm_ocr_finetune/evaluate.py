"""Reading a set of samples and scoring what was read: with a model, or from anybody's predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from .args import DataArguments, EvaluateArguments
from .collate import Pixels, answer_of, prompt_of
from .data import default_split, load_splits
from .errors import UserError
from .generate import Generated, Request, generate_all, longest_first, read_pixels
from .images import ImageError
from .metrics import GroupScore, Reading, Scores, ScoringSettings, read_predictions, score
from .model import load_for_reading
from .processor import set_pixel_budget
from .prompt import PromptRenderer
from .suspects import find_suspects, write_suspects

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.jsonl"
SCORES_FILE = "scores.json"
HEADLINES = {
    "corpus_cer": "CER",
    "mean_cer": "mean CER",
    "corpus_wer": "WER",
    "exact_match": "exact",
    "stop_rate": "stops",
    "repetition_rate": "loops",
}


def answer_limit(num_answer_tokens: int) -> int:
    """Tokens that an answer may take in an evaluation: twice the truth's and 64 more, so that loops end."""
    return 2 * num_answer_tokens + 64


def read_samples(
    model: Any,
    renderer: PromptRenderer,
    samples: Dataset,
    lengths: Sequence[int],
    batch_size: int | None = None,
    max_new_tokens: int | None = None,
    repetition_penalty: float = 1.0,
    progress: bool = True,
) -> list[Reading]:
    """Read every sample, longest first and in batches of like length.

    Args:
        samples: N samples in the form of ``format_for_vlm``.
        lengths: N sequence lengths in tokens, for the order.
        max_new_tokens: longest answer; by default :func:`answer_limit` of each truth, whatever is read beside it.

    Returns:
        N readings in the order of the samples; under torchrun each rank reads a share, and all get all.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from tqdm import tqdm

    state = PartialState()
    requests = requests_of(samples, lengths, renderer, max_new_tokens)
    mine = longest_first(requests)[state.process_index :: state.num_processes]
    readings: list[tuple[int, Reading]] = []
    answers = generate_all(model, renderer, [requests[index] for index in mine], batch_size, repetition_penalty)
    shown = progress and state.is_main_process
    for position, answer in tqdm(answers, total=len(mine), desc="reading", unit=" images", disable=not shown):
        index = mine[position]
        readings.append((index, _reading(samples[index], index, _readable(samples[index], answer))))
    everybodys = gather_object(readings) if state.num_processes > 1 else readings
    return [reading for _, reading in sorted(everybodys, key=lambda pair: pair[0])]


def requests_of(
    samples: Dataset, lengths: Sequence[int], renderer: PromptRenderer, max_new_tokens: int | None
) -> list[Request]:
    """What is to be read of each sample, its answer as long as ``max_new_tokens`` or twice its truth and more."""
    requests = []
    for index, sample in enumerate(samples):
        num_answer_tokens = len(renderer.answer_ids(answer_of(sample)))
        requests.append(
            Request(
                pixels=partial(_pixels, samples, index, renderer),
                prompt=prompt_of(sample),
                num_tokens=int(lengths[index]) - num_answer_tokens,
                max_new_tokens=max_new_tokens or answer_limit(num_answer_tokens),
            )
        )
    return requests


def _pixels(samples: Dataset, index: int, renderer: PromptRenderer) -> Pixels:
    return read_pixels(samples[index]["images"][0], renderer)


def _readable(sample: Mapping[str, Any], answer: Generated | ImageError) -> Generated | None:
    if isinstance(answer, Generated):
        return answer
    logger.warning("scored as read empty: %s: %s", sample.get("source", "a sample"), answer)
    return None


def _reading(sample: Mapping[str, Any], index: int, answer: Generated | None = None) -> Reading:
    source = str(sample.get("source", index))
    image = sample["images"][0]
    return Reading(
        id=source,
        truth=answer_of(sample),
        prediction=answer.text if answer else "",
        stopped=answer.stopped if answer else None,
        num_tokens=len(answer.token_ids) + int(answer.stopped) if answer else None,
        prompt=prompt_of(sample),
        source=source.rsplit(":", 1)[0],
        image=image.get("path") if isinstance(image, dict) else None,
    )


def write_predictions(readings: Iterable[Reading], file: Path) -> None:
    """One JSON object a line: id, image, text (the truth), prediction, prompt, source, stopped, num_tokens, document."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as handle:
        for reading in readings:
            row = asdict(reading)
            row["text"] = row.pop("truth")
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def evaluate(args: EvaluateArguments) -> int:
    """Score and print. Returns the exit code."""
    settings = ScoringSettings(args.text_normalisation, args.cer_unit)  # type: ignore[arg-type]
    if not args.dataset_name and not args.predictions:
        raise UserError("--dataset_name is required, or --predictions with a 'text' of its own in each line")
    output = Path(args.output_dir)
    readings = _readings(args, output)
    scores = score(readings, settings)
    output.mkdir(parents=True, exist_ok=True)
    (output / SCORES_FILE).write_text(json.dumps(scores.to_dict(), indent=2, ensure_ascii=False) + "\n")
    show_scores(scores)
    logger.info("scores in %s", output / SCORES_FILE)
    return 0


def _readings(args: EvaluateArguments, output: Path) -> list[Reading]:
    if args.predictions and args.find_label_errors:
        raise UserError("--find_label_errors True asks the model itself; leave --predictions out")
    if args.predictions and not args.dataset_name:
        return _told(read_predictions(args.predictions))
    if args.predictions:
        samples = _load(args, PromptRenderer(_any_processor(), args.prompt_format or "serve"))
        truths = [_reading(sample, index) for index, sample in enumerate(samples.train)]
        return _told(read_predictions(args.predictions, truths))
    model, processor, tuned_format = load_for_reading(args.model, args.adapter, args.device_map)
    set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, args.prompt_format or tuned_format)
    splits = _load(args, renderer)
    output.mkdir(parents=True, exist_ok=True)
    if file := splits.write_set_aside(output):
        logger.warning("set aside: %s; listed in %s", splits.set_aside_by_reason(), file)
    readings = read_samples(
        model,
        renderer,
        splits.train,
        splits.train_tokens.tolist(),
        args.batch_size,
        args.max_new_tokens,
        args.repetition_penalty,
    )
    write_predictions(readings, output / PREDICTIONS_FILE)
    if args.find_label_errors:
        suspects = find_suspects(model, renderer, splits.train, readings, args.batch_size or 8)
        logger.info("labels by doubt, the most suspect first, in %s", write_suspects(suspects, output))
    return readings


def _told(predictions: Any) -> list[Reading]:
    logger.info("%s", predictions)
    return list(predictions.readings)


def _any_processor() -> Any:
    from .processor import load_processor
    from .tiny import tiny_path

    return load_processor(tiny_path("tiny"))  # only to walk the samples; nothing is read with it


def _load(args: EvaluateArguments, renderer: PromptRenderer) -> Any:
    split = args.split or default_split(str(args.dataset_name), args.dataset_config)
    data_args = DataArguments(
        dataset_name=args.dataset_name,
        dataset_config=args.dataset_config,
        image_folder=args.image_folder,
        image_column=args.image_column,
        text_column=args.text_column,
        train_split=split,
        max_samples=args.max_samples,
        prompt=args.prompt,
    )
    return load_splits(data_args, renderer, max_length=None, seed=0, evaluate=False)


def show_scores(scores: Scores) -> None:
    """The summary table, by prompt and by source where there are several, on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table("", "samples", *HEADLINES.values())
    table.add_row("all", *_cells(scores.overall))
    for name, groups in (("prompt", scores.by_prompt), ("source", scores.by_source)):
        if len(groups) > 1:
            for key, group in groups.items():
                table.add_row(f"{name} {key}", *_cells(group))
    console.print(table)
    console.print(str(scores.settings))


def _cells(group: GroupScore) -> list[str]:
    values = (group.values[name] for name in HEADLINES)
    return [str(group.count), *("-" if value is None else f"{value:.4f}" for value in values)]
