"""Training the multi-token-prediction layer of a tuned model again, on the model's own readings.

The model reads the images greedily, as an engine will, and what it reads is what drafts are to foresee. Its states are
computed once and kept; the layer alone is trained on them, and nothing else in the model's files changes.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
from rich.table import Table

from .args import DataArguments
from .command_args import MtpArguments
from .data.splits import load_splits
from .data.stack import pad, stack_inputs
from .errors import UserError
from .folders import check_new_folder, check_writable
from .inputs.processor import set_pixel_budget
from .inputs.prompt import IGNORED, PromptRenderer
from .model.checkpoint import stored_as
from .model.draft_layer import DEPTH, DraftLayer
from .model.loading import load_for_reading, resolve_model_path
from .model.mtp import read_mtp_tensors, replace_mtp_tensors
from .model.tiny import TINY_NAMES, is_tiny
from .progress import track
from .ranks import console
from .reading.asking import how_to_ask
from .reading.generate import Generated, Request, generate_all
from .reading.samples import requests_of
from .reading.speculative import speculation_for
from .training.attention import allow_rows_of_samples
from .training.draft_loss import Row, draft_loss
from .training.drafting import RATES
from .training.forward import score_labels
from .training.output_folder import held
from .vision.cache import MemoryStore, VisionCache
from .vision.encoder import VisionEncoder, cache_of_an_earlier_run

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

SAMPLES_A_STEP = 8
HELD_OUT = 10  # every tenth batch
WARM_UP = 0.1  # share of the steps
SHARE_OF_FREE = 0.4  # of the memory, for states; as much again is left to image features


def mtp(args: MtpArguments) -> int:
    """Read, keep the states, train the layer, compare it with the old one, and write it. Returns the exit code."""
    torch.manual_seed(0)
    folder = folder_of(args)
    if not args.dataset_name:
        raise UserError("--dataset_name is required: images like those that will be read")
    asking = how_to_ask(args.model, None, args.asked_prompt, args.prompt_format)
    model, processor, _ = load_for_reading(args.model, None, args.device_map)
    layer = speculation_for(model, args.model).layer.float().train()
    set_pixel_budget(processor, args.min_pixels, args.max_pixels)
    renderer = PromptRenderer(processor, asking.prompt_format)
    rows = states_of_readings(args, model, renderer, asking.prompt)
    held_out, trained = rows[::HELD_OUT], [row for i, row in enumerate(rows) if i % HELD_OUT]
    if not trained:
        raise UserError(f"{args.data_sets}: too few images that the model reads to an end, to train on any of them")
    before = acceptance(model, layer, held_out)
    train_layer(model, layer, trained, args.num_train_epochs)
    after = acceptance(model, layer, held_out)
    show(before, after)
    if sum(after) <= sum(before):
        logger.warning("the layer drafts no better than before: nothing is written")
        return 0
    for file in write_layer(args, folder, model, layer):
        logger.info("written: %s", file)
    return 0


def folder_of(args: MtpArguments) -> Path:
    """The folder of the model. Raises UserError for what is none, and for an ``--output_dir`` that is in use."""
    folder = Path(resolve_model_path(args.model))
    if not folder.is_dir():
        raise UserError(
            f"--model {args.model} is no folder; fetch it with `hf download {args.model} --local-dir DIR` and name DIR"
        )
    if args.model in TINY_NAMES and not args.output_dir:
        raise UserError(
            f"--model {args.model} belongs to the package; name an --output_dir for the model with the new layer"
        )
    if not args.output_dir:
        check_writable(folder)
        return folder
    output = Path(args.output_dir)
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"--output_dir {output} is not empty; name another")
    check_new_folder(output)
    return folder


def states_of_readings(args: MtpArguments, model: Any, renderer: PromptRenderer, prompt: str) -> list[Row]:
    """What the trunk makes of each image and its own reading, in batches, as far as the memory goes."""
    data_args = DataArguments.of(args, train_split=args.split, prompt=prompt, task=None)
    splits = load_splits(data_args, renderer, None, 0, evaluate=False)
    encoder = VisionEncoder(cache_of_an_earlier_run(model, renderer.processor))
    encoder.cache = encoder.cache or VisionCache("", MemoryStore(SHARE_OF_FREE * psutil.virtual_memory().available))
    requests = requests_of(splits.train, splits.train_tokens.tolist(), renderer, None, encoder.cache)
    answers = dict(
        track(
            generate_all(model, renderer, requests, args.batch_size, encoder=encoder),
            "reading",
            len(requests),
            "images",
        )
    )
    read = [i for i, answer in sorted(answers.items()) if isinstance(answer, Generated) and answer.stopped]
    if len(read) < len(requests):
        logger.warning(
            "left out: %d of %d images that are not read to an end", len(requests) - len(read), len(requests)
        )
    order = torch.randperm(len(read)).tolist()
    batches = [
        [read[i] for i in order[start : start + SAMPLES_A_STEP]] for start in range(0, len(order), SAMPLES_A_STEP)
    ]
    allow_rows_of_samples(model.model.language_model)
    return keep_states(model, renderer, encoder, [[(requests[i], answers[i]) for i in batch] for batch in batches])


def keep_states(
    model: Any, renderer: PromptRenderer, encoder: VisionEncoder, batches: Sequence[list[tuple[Request, Any]]]
) -> list[Row]:
    """A row for each batch of (what was read, the answer), in the main memory, until that is full."""
    kept: list[Row] = []
    free = SHARE_OF_FREE * psutil.virtual_memory().available
    device = model.get_input_embeddings().weight.device
    for batch in track(batches, "computing states", len(batches), "batches"):
        inputs = training_batch(renderer, batch)
        with torch.no_grad():
            score_labels(
                model,
                encoder,
                True,
                lambda _, row: kept.append(moved(row, "cpu")),
                **{k: v.to(device) for k, v in inputs.items()},
            )
        free -= kept[-1].hidden.nbytes
        if free < 0:
            logger.warning(
                "the memory is full: %d of %d readings are used",
                len(kept) * SAMPLES_A_STEP,
                len(batches) * SAMPLES_A_STEP,
            )
            break
    return kept


def training_batch(renderer: PromptRenderer, batch: Sequence[tuple[Request, Generated]]) -> dict[str, Tensor]:
    """Prompts and their readings with the stop token, as :class:`~.data.collate.VLMDataCollator` makes them of labels."""
    pixels = [request.pixels() for request, _ in batch]
    prompts = [
        renderer.prompt_ids(request.prompt, one.num_tokens) for (request, _), one in zip(batch, pixels, strict=True)
    ]
    read = [[*answer.token_ids, renderer.stop_token_id] for _, answer in batch]
    ids = [prompt + answer for prompt, answer in zip(prompts, read, strict=True)]
    labels = [[IGNORED] * len(prompt) + answer for prompt, answer in zip(prompts, read, strict=True)]
    return stack_inputs(ids, pixels, renderer, "right") | {"labels": pad(labels, IGNORED, "right")}


def moved(row: Row, device: str | torch.device) -> Row:
    """The same row elsewhere."""
    names = ("hidden", "ids", "labels", "positions", "chosen")
    return replace(row, **{name: getattr(row, name).to(device) for name in names})


def acceptance(model: Any, layer: DraftLayer, rows: Sequence[Row]) -> list[float]:
    """Share of starts whose drafts are what the model reads, up to each depth."""
    device = model.get_input_embeddings().weight.device
    with torch.no_grad():
        drafted = [draft_loss(model, layer, moved(row, device)) for row in rows]
    accepted, counted = (sum(getattr(one, name) for one in drafted) for name in ("accepted", "counted"))
    return (accepted / counted.clamp(min=1)).tolist()


def train_layer(model: Any, layer: DraftLayer, rows: Sequence[Row], num_epochs: float) -> None:
    """AdamW at the rate of training, with warm-up and cosine, one step a row."""
    device = model.get_input_embeddings().weight.device
    steps = max(1, round(num_epochs * len(rows)))
    optimizer = torch.optim.AdamW(layer.parameters(), RATES[is_tiny(model.config)], weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, steps))
    order: list[int] = []
    for _ in track(range(steps), "training", steps, "steps"):
        order = order or torch.randperm(len(rows)).tolist()
        row = moved(rows[order.pop()], device)
        with torch.autocast(device.type, model.dtype, enabled=device.type != "cpu"):
            drafted = draft_loss(model, layer, row)
        if drafted.loss is not None:
            torch.autograd.backward(drafted.loss / len(row.chosen))
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def factor(step: int, steps: int) -> float:
    """Of the peak rate: up over the first tenth, then down to 0 as a cosine."""
    warm = max(1, math.ceil(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def show(before: Sequence[float], after: Sequence[float]) -> None:
    """Acceptance by position, of the old layer and of the new one."""
    table = Table("drafts accepted on readings held out", *(f"position {i}" for i in range(1, DEPTH + 1)))
    for name, shares in (("before", before), ("after", after)):
        table.add_row(name, *(f"{share:.1%}" for share in shares))
    console().print(table)


def write_layer(args: MtpArguments, folder: Path, model: Any, layer: DraftLayer) -> list[Path]:
    """Put the layer into the model's files, or into those of a copy in ``--output_dir``."""
    tensors = layer.tensors(model.config, model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    stored = next(iter(read_mtp_tensors(str(model.name_or_path), model.config).values())).dtype
    tensors = stored_as(tensors, stored)
    if not args.output_dir:
        with held(folder):
            return replace_mtp_tensors(folder, tensors, model.config)
    target = Path(args.output_dir)
    staging = target.with_name(f"_{target.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for file in folder.iterdir():
        if file.is_file():
            shutil.copy2(file, staging)
    written = replace_mtp_tensors(staging, tensors, model.config)
    staging.rename(target)
    return [target / file.name for file in written]
