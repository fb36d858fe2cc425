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
from rich.table import Column, Table

from .args import DataArguments, EvaluateArguments
from .cache_choice import cache_of_an_earlier_run
from .collate import Pixels, answer_of, prompt_of
from .data import Splits, default_split, load_splits
from .errors import UserError
from .generate import Generated, Request, generate_all, longest_first, read_pixels
from .images import ImageError
from .metrics import GroupScore, Predictions, Reading, Scores, ScoringSettings, read_predictions, score_with_tables
from .model import load_for_reading
from .processor import set_pixel_budget
from .prompt import PromptRenderer
from .suspects import find_suspects, write_suspects
from .vision_cache import VisionCache
from .vision_encoder import VisionEncoder

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
TASK_HEADLINES = {"teds": "TEDS", "teds_structure": "TEDS structure", "formula_edit_distance": "formula edits"}


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
    encoder: VisionEncoder | None = None,
) -> list[Reading]:
    """Read every sample, longest first and in batches of like length.

    Args:
        samples: N samples in the form of ``format_for_vlm``.
        lengths: N sequence lengths in tokens, for the order.
        max_new_tokens: longest answer; by default :func:`answer_limit` of each truth, whatever is read beside it.
        encoder: gives the image features, the cached ones without work.

    Returns:
        N readings in the order of the samples; under torchrun each rank reads a share, and all get all.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object
    from tqdm import tqdm

    state = PartialState()
    encoder = encoder or VisionEncoder()
    requests = requests_of(samples, lengths, renderer, max_new_tokens, encoder.cache)
    mine = longest_first(requests)[state.process_index :: state.num_processes]
    readings: list[tuple[int, Reading]] = []
    these = [requests[index] for index in mine]
    answers = generate_all(model, renderer, these, batch_size, repetition_penalty, encoder)
    shown = progress and state.is_main_process
    for position, answer in tqdm(answers, total=len(mine), desc="reading", unit=" images", disable=not shown):
        index = mine[position]
        readings.append((index, _reading(samples[index], index, _readable(samples[index], answer))))
    everybodys = gather_object(readings) if state.num_processes > 1 else readings
    return [reading for _, reading in sorted(everybodys, key=lambda pair: pair[0])]


def requests_of(
    samples: Dataset,
    lengths: Sequence[int],
    renderer: PromptRenderer,
    max_new_tokens: int | None,
    cache: VisionCache | None = None,
) -> list[Request]:
    """What is to be read of each sample, its answer as long as ``max_new_tokens`` or twice its truth and more."""
    requests = []
    for index, sample in enumerate(samples):
        num_answer_tokens = len(renderer.answer_ids(answer_of(sample)))
        requests.append(
            Request(
                pixels=partial(_pixels, samples, index, renderer, cache),
                prompt=prompt_of(sample),
                num_tokens=int(lengths[index]) - num_answer_tokens,
                max_new_tokens=max_new_tokens or answer_limit(num_answer_tokens),
            )
        )
    return requests


def _pixels(samples: Dataset, index: int, renderer: PromptRenderer, cache: VisionCache | None) -> Pixels:
    return read_pixels(samples[index]["images"][0], renderer, cache)


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
        document=sample.get("group"),
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
    """Score and print. Returns the exit code; under torchrun all ranks read, and the first one scores and writes."""
    settings = ScoringSettings(args.text_normalisation, args.cer_unit)  # type: ignore[arg-type]
    if not args.dataset_name and not args.predictions:
        raise UserError("--dataset_name is required, or --predictions with a 'text' of its own in each line")
    output = Path(args.output_dir)
    join_ranks()
    predictions = _predictions(args, output)
    if not is_main_process():
        return 0
    scores = score_with_tables(predictions.readings, settings)
    output.mkdir(parents=True, exist_ok=True)
    written = scores.to_dict() | {"missing": predictions.missing, "unmatched": predictions.unmatched}
    (output / SCORES_FILE).write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    show_scores(scores)
    logger.info("scores in %s", output / SCORES_FILE)
    return 0


def join_ranks() -> None:
    """Meet the other processes of torchrun; accelerate does so on a CPU only when it is told to."""
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.accelerator.is_available())


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints."""
    from accelerate import PartialState

    return PartialState().is_main_process


def _device_map(args: EvaluateArguments) -> str:
    """Where to load: as asked, or under torchrun each rank on its own device instead of spread over all."""
    from accelerate import PartialState

    state = PartialState()
    return str(state.device) if args.device_map == "auto" and state.num_processes > 1 else args.device_map


def _predictions(args: EvaluateArguments, output: Path) -> Predictions:
    if args.predictions and args.find_label_errors:
        raise UserError("--find_label_errors True asks the model itself; leave --predictions out")
    if args.predictions and not args.dataset_name:
        return _paired(args, None, output)
    if args.predictions:
        samples = _load(args, PromptRenderer(_any_processor(), args.prompt_format or "serve"), output)
        truths = [_reading(sample, index) for index, sample in enumerate(samples.train)]
        return _paired(args, truths, output)
    model, processor, tuned_format = load_for_reading(args.model, args.adapter, _device_map(args))
    set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, args.prompt_format or tuned_format)
    return Predictions(tuple(_read(args, model, renderer, _load(args, renderer, output), output)), (), ())


def _read(args: EvaluateArguments, model: Any, renderer: PromptRenderer, splits: Splits, output: Path) -> list[Reading]:
    """Read all samples with the model, and look for label errors where asked; what is found goes to ``output``."""
    readings = read_samples(
        model,
        renderer,
        splits.train,
        splits.train_tokens.tolist(),
        args.batch_size,
        args.max_new_tokens,
        args.repetition_penalty,
        encoder=VisionEncoder(cache_of_an_earlier_run(model, renderer.processor)),
    )
    if is_main_process():
        write_predictions(readings, output / PREDICTIONS_FILE)
    if args.find_label_errors:
        suspects = find_suspects(model, renderer, splits.train, readings, args.batch_size or 8)
        if is_main_process():
            logger.info("labels by doubt, the most suspect first, in %s", write_suspects(suspects, output))
    return readings


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
    from .processor import load_processor
    from .tiny import tiny_path

    return load_processor(tiny_path("tiny"))  # only to walk the samples; nothing is read with it


def _load(args: EvaluateArguments, renderer: PromptRenderer, output: Path) -> Splits:
    """The samples to be judged on; rows that cannot be used are told and listed in ``output``."""
    split = args.split or default_split(str(args.dataset_name), args.dataset_config)
    data_args = DataArguments(
        dataset_name=args.dataset_name,
        dataset_config=args.dataset_config,
        image_folder=args.image_folder,
        image_column=args.image_column,
        text_column=args.text_column,
        level=args.level,
        train_split=split,
        max_samples=args.max_samples,
        prompt=args.prompt,
    )
    splits = load_splits(data_args, renderer, max_length=None, seed=0, evaluate=False)
    if splits.set_aside and is_main_process():
        output.mkdir(parents=True, exist_ok=True)
        file = splits.write_set_aside(output)
        logger.warning("set aside: %s; listed in %s", splits.set_aside_by_reason(), file)
    return splits


def show_scores(scores: Scores) -> None:
    """The summary on standard output; tables and formulas have a second one, where there are such."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_summary(scores, HEADLINES))
    asked = {name: title for name, title in TASK_HEADLINES.items() if scores.values[name] is not None}
    if asked:
        console.print(_summary(scores, asked))
    console.print(str(scores.settings))


def _summary(scores: Scores, columns: Mapping[str, str]) -> Table:
    """Some figures of all samples, and by prompt and by source where there are several and any figure is defined."""
    table = Table(Column("", overflow="fold"))
    for title in ("count", *columns.values()):
        table.add_column(title, no_wrap=True)
    rows = {"all": scores.overall}
    for name, groups in (("prompt", scores.by_prompt), ("source", scores.by_source)):
        if len(groups) > 1:
            rows |= {f"{name} {key}": group for key, group in groups.items()}
    for name, group in rows.items():
        if any(group.values[column] is not None for column in columns):
            table.add_row(name, *_cells(group, columns))
    return table


def _cells(group: GroupScore, columns: Iterable[str]) -> list[str]:
    values = (group.values[name] for name in columns)
    return [str(group.count), *("-" if value is None else f"{value:.4f}" for value in values)]
