"""A tuned model as an engine loads it: merged, written, proven by reading with the files, and how to serve it."""

from __future__ import annotations

import contextlib
import gc
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .command_args import ExportArguments
from .errors import UserError
from .exporting import card, gguf
from .exporting.engines import MODELFILE, WITHOUT_DRAFTS, Served, modelfile, request_note, serving_command
from .exporting.files import load_rounded, rounded_weights, write_adapter, write_beside, write_full, write_json
from .exporting.inspection import Expected, Tensor, expectation, faults, tensors_in
from .exporting.proof import (
    Answer,
    Comparison,
    compare_readings,
    first_difference,
    keep_images,
    read_afresh,
    read_here,
)
from .exporting.proof_images import ProofImage, choose_images
from .exporting.source import Source, find_source
from .folders import check_new_folder
from .inputs.processor import PixelBudget
from .inputs.prompt import PromptRenderer
from .model.adapters import check_servable
from .model.checkpoint import model_file, read_object
from .training.model_card import CARD_FILE, is_published

logger = logging.getLogger(__name__)

RECORD_FILE = "export.json"
SHOWN = 5  # faults and changed readings that are printed; export.json has all


@dataclass(frozen=True)
class Before:
    """The model before the export: what its files must hold, and what it reads.

    Attributes:
        exact: read in fp32, as tuned.
        rounded: read with the weights as they are written.
    """

    expected: Expected
    exact: list[Answer]
    rounded: list[Answer]
    drafts: bool
    longest: int


def export(args: ExportArguments) -> int:
    """Export and prove. Returns the exit code: 1 when the files do not read as the model did before."""
    output = _free_folder(Path(args.output_dir))
    converter = gguf.find_converter(args.llama_cpp)
    source = find_source(args.model, args.adapter)
    _check(source, args)
    renderer = PromptRenderer(source.load_processor(), source.sidecar.prompt_format)
    images, where = choose_images(source, args, renderer)
    with tempfile.TemporaryDirectory() as folder:
        images = keep_images(images, Path(folder))
        written = output.with_name(output.name + ".unproven")
        with _removed_on_failure(written):
            before = write(source, renderer, images, args, written)
        _free_memory()
        wrong = prove(source, images, before, written)
        if wrong:
            return _fail(wrong, written)
        four_bit = read_in_4bit(source, renderer, images, before)
    written.rename(output)
    return finish(args, source, output, before, describe(source, images, where, before, four_bit), converter)


def _free_folder(output: Path) -> Path:
    """The folder to write. Raises UserError when something is there already."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output_dir {output} is there already; name a new folder, or remove it")
    check_new_folder(output)
    shutil.rmtree(output.with_name(output.name + ".unproven"), ignore_errors=True)
    return output


@contextlib.contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    """Leave nothing half written behind."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _free_memory() -> None:
    """Give back what the model took, for the process that reads next."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _check(source: Source, args: ExportArguments) -> None:
    if args.engine != "adapter":
        return
    if source.adapter is None:
        raise UserError(f"--for adapter needs a LoRA adapter, and {args.model} is a whole model; use --for vllm")
    check_servable(source.adapter)


def write(
    source: Source, renderer: PromptRenderer, images: Sequence[ProofImage], args: ExportArguments, folder: Path
) -> Before:
    """Load, read, merge, round, read again, and write the files to ``folder``."""
    as_adapter = args.engine == "adapter"
    model = source.load_model(merged=not as_adapter)
    exact = read_here(model, renderer, images)
    tensors: dict[str, Any] = {}
    if as_adapter:
        write_adapter(str(source.adapter), renderer.processor, folder)
        rounded = exact
    else:
        drafts = {} if args.engine in WITHOUT_DRAFTS else source.mtp_tensors()
        weights = rounded_weights(model)
        load_rounded(model, weights)
        rounded = read_here(model, renderer, images)
        write_full(model, renderer.processor, weights, drafts, folder, args.max_shard_size)
        tensors = weights | {name: value.bfloat16() for name, value in drafts.items()}
    write_beside(folder, source.base, source.sidecar)
    expected = expectation(
        tensors,
        None if as_adapter else source.base,
        model,
        renderer.processor,
        source.sidecar.prompt,
        renderer.prompt_format,
    )
    if as_adapter:
        expected.tensors.update(_adapter_tensors(source))
    longest = model.config.text_config.max_position_embeddings
    return Before(expected, exact, rounded, bool(tensors) and bool(drafts), longest)


def _adapter_tensors(source: Source) -> dict[str, Tensor]:
    file = model_file(str(source.adapter), "adapter_model.safetensors")
    if file is None:
        raise UserError(f"{source.adapter} holds no adapter_model.safetensors; adapters in other files are not read")
    return dict(tensors_in(file))


def prove(source: Source, images: Sequence[ProofImage], before: Before, folder: Path) -> list[str]:
    """What is wrong with the files, from looking at them and from reading with them; nothing when all is well."""
    wrong = faults(folder, before.expected)
    if not images:
        return wrong
    base = source.base if before.expected.config is None else None
    try:
        after = read_afresh(folder, base, before.expected.prompt_format, images, before.expected.stops)
    except UserError as error:
        return [*wrong, str(error)]
    part = first_difference(images, before.rounded, after)
    return [*wrong, f"read otherwise than before the export: {part}"] if part else wrong


def _fail(wrong: Sequence[str], folder: Path) -> int:
    for line in wrong[:SHOWN]:
        logger.error("%s", line)
    if len(wrong) > SHOWN:
        logger.error("and %d more", len(wrong) - SHOWN)
    logger.error("the export is not what was tuned; its files are left in %s", folder)
    return 1


def read_in_4bit(
    source: Source, renderer: PromptRenderer, images: Sequence[ProofImage], before: Before
) -> Comparison | None:
    """The model as it was trained, on its base in 4 bits, beside the export; None where it was not, or nothing is read."""
    if not (source.four_bit and source.adapter and images):
        return None
    trained = read_here(source.load_model(four_bit=True), renderer, images)
    return compare_readings(images, trained, before.rounded)


def describe(
    source: Source, images: Sequence[ProofImage], where: str, before: Before, four_bit: Comparison | None
) -> dict[str, Any]:
    """What was proven and what was found, in words for people and in figures for programs."""
    record: dict[str, Any] = {"images": [one.name for one in images]}
    as_adapter = before.expected.config is None
    record["weights"] = (
        "The adapter as it was trained, in files unchanged; a server reads it beside its base."
        if as_adapter
        else "Weights in bf16 under their original names" + (", the adapter merged in fp32." if source.adapter else ".")
    )
    record["drafts"] = _drafts_in_words(before, as_adapter)
    record["proof"] = (
        f"Names, shapes and values of all {len(before.expected.tensors)} tensors, stop tokens, pixel budget and prompt are "
        "those of the model before the export."
    )
    if images:
        record["proof"] += (
            f" A fresh process with transformers alone read {len(images)} images ({where}) with these files: the same token "
            "ids as before the export."
        )
    if images and not as_adapter:
        rounding = compare_readings(images, before.exact, before.rounded)
        record |= {"rounding": f"Rounding to bf16: {rounding}.", "changed_by_rounding": rounding.to_dict()}
    if four_bit:
        record["four_bit"] = (
            f"Trained on a base in 4 bits, exported on the base in full precision; between the two, {four_bit}."
        )
        record["changed_by_4bit"] = four_bit.to_dict()
    return record


def _drafts_in_words(before: Before, as_adapter: bool) -> str:
    if as_adapter:
        return "No multi-token-prediction layer: the base's own drafts, where the server turns it on."
    if before.drafts:
        return "With the multi-token-prediction layer (num_nextn_predict_layers 1)."
    return "Without the multi-token-prediction layer (num_nextn_predict_layers 0)."


def finish(
    args: ExportArguments, source: Source, output: Path, before: Before, record: dict[str, Any], converter: Path | None
) -> int:
    """The files that name the folder itself, conversion and upload where asked, and the command that serves it."""
    served = _served(args, source, output.resolve(), before)
    if args.engine == "ollama":
        (output / MODELFILE).write_text(modelfile(served), encoding="utf-8")
    command = serving_command(args.engine, served)
    if args.engine == "gguf":
        if converter:
            gguf.convert(converter, output.resolve())
        else:
            command = f"{gguf.to_type(output.resolve())}\n{command}"
    record |= {"source": source.tuned, "base": source.base, "engine": args.engine, "command": command}
    record["note"] = request_note(args.engine, served)
    write_json(output / RECORD_FILE, record)
    name = source.sidecar.base_model
    elsewhere = replace(
        served,
        directory=Path(args.push_to_hub or output.name),
        base=served.base and (name if is_published(name) else Path(name).name),
    )
    published = serving_command(args.engine, elsewhere)
    text = card.render(card.card_of(source.tuned), output.name, name, args.engine, published, record)
    (output / CARD_FILE).write_text(text, encoding="utf-8")
    _show(output, record, command)
    if args.push_to_hub:
        push(output, args.push_to_hub)
    return 0


def _served(args: ExportArguments, source: Source, output: Path, before: Before) -> Served:
    rank = read_object(output / "adapter_config.json").get("r", 0) if args.engine == "adapter" else 0
    return Served(
        directory=output,
        budget=PixelBudget.of(source.load_processor()),
        longest=before.longest,
        drafts=before.drafts,
        base=source.base if args.engine == "adapter" else None,
        rank=rank,
        prompt_format=source.sidecar.prompt_format,
    )


def _show(output: Path, record: dict[str, Any], command: str) -> None:
    for line in card.findings(record):
        logger.info("%s", line)
    for name, what in (("changed_by_rounding", "bf16"), ("changed_by_4bit", "full precision")):
        changed = record.get(name, {}).get("changed", [])
        for one in changed[:SHOWN]:
            logger.info("in %s, %s is read %r instead of %r", what, one["name"], one["after"], one["before"])
        if len(changed) > SHOWN:
            logger.info("and %d more, in %s", len(changed) - SHOWN, output / RECORD_FILE)
    logger.info("exported to %s; serve it with:", output)
    sys.stdout.write(command + "\n")


def push(output: Path, repository: str) -> None:
    """Upload the folder. Raises UserError when the hub cannot be reached or refuses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=output)
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UserError(f"--push_to_hub {repository} failed: {error}; the export is in {output}") from error
    logger.info("uploaded to https://huggingface.co/%s", repository)
