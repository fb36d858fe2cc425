"""What an export must hold, and what is wrong with the files of one: no engine tells of all of it.

vLLM starts without a missing linear layer and answers other text; a lost stop token or another pixel budget is told by
nobody. So every file is compared with the model before the export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, first_line
from ..inputs.processor import load_processor
from ..inputs.prompt import PromptRenderer
from ..model.checkpoint import read_object
from ..model.loading import load_config
from ..model.mtp import mtp_shapes
from .files import ADAPTER_FILES, stop_ids

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor

WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PROCESSOR_FILES = (
    *("processor_config.json", "preprocessor_config.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer_config.json"),
)
MAY_DIFFER = {"transformers_version", "dtype", "use_cache", "_name_or_path", "num_nextn_predict_layers", "torch_dtype"}


@dataclass(frozen=True)
class Tensor:
    """A tensor by shape, type and a digest of its bytes."""

    shape: tuple[int, ...]
    dtype: str
    digest: str

    @classmethod
    def of(cls, value: torch.Tensor) -> Tensor:
        import torch

        content = value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        return cls(tuple(value.shape), str(value.dtype), blake2b(content, digest_size=16).hexdigest())


@dataclass(frozen=True)
class Expected:
    """What the files have to say.

    Attributes:
        tensors: by name, with the MTP tensors; of an adapter, its own.
        config: ``config.json`` of the base; None for an adapter, which has none.
        stops: ids that end an answer.
        image_processor: settings of the image processor, the pixel budget among them.
        prompt_ids: a request with one image token, as it was trained.
        template: the chat template.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any] | None
    stops: list[int]
    image_processor: dict[str, Any]
    prompt_ids: tuple[int, ...]
    template: str
    prompt: str
    prompt_format: str


def expectation(
    tensors: Mapping[str, torch.Tensor],
    base: str | None,
    model: Any,
    processor: Glm46VProcessor,
    prompt: str,
    style: str,
) -> Expected:
    """What an export of ``model`` must hold.

    Args:
        base: path or hub id of the base, for its configuration; None for an adapter.
        style: prompt format.
    """
    return Expected(
        tensors={name: Tensor.of(value) for name, value in tensors.items()},
        config=plain_config(base) if base else None,
        stops=stop_ids(processor, model),
        image_processor=_image_settings(processor),
        prompt_ids=tuple(PromptRenderer(processor, style).prompt_ids(prompt, 1)),
        template=str(processor.chat_template),
        prompt=prompt,
        prompt_format=style,
    )


def plain_config(path: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(load_config(path).to_json_string(use_diff=False))
    return plain


def _image_settings(processor: Glm46VProcessor) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(processor.image_processor.to_json_string())
    return settings


def faults(directory: Path, expected: Expected) -> list[str]:
    """What is wrong with the files, a line each; none when all is as expected."""
    checks = (_file_faults, _config_faults, _tensor_faults, _stop_faults, _processor_faults)
    return [fault for check in checks for fault in _explained(check(directory, expected))]


def _explained(found: Iterator[str]) -> list[str]:
    try:
        return list(found)
    except (UserError, OSError, ValueError, KeyError) as error:
        return [first_line(error)]


def _file_faults(directory: Path, expected: Expected) -> Iterator[str]:
    """Files that are not there; transformers does without some of them, and reads otherwise."""
    own = ADAPTER_FILES if expected.config is None else ("config.json", "generation_config.json")
    yield from (f"{name} is missing" for name in (*own, *PROCESSOR_FILES) if not (directory / name).is_file())


def _tensor_faults(directory: Path, expected: Expected) -> Iterator[str]:
    """Missing, unexpected and changed tensors, and an index that says otherwise."""
    found: dict[str, Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        for name, tensor in tensors_in(file):
            if name in found:
                yield f"{file.name}: {name} stands in two files"
            found[name] = tensor
    yield from (f"the tensor {name} is missing" for name in expected.tensors.keys() - found.keys())
    yield from (f"the tensor {name} belongs to no part of the model" for name in found.keys() - expected.tensors.keys())
    for name in sorted(found.keys() & expected.tensors.keys()):
        yield from _difference(name, found[name], expected.tensors[name])
    index = directory / INDEX_FILE
    if index.is_file() and read_object(index)["weight_map"].keys() != found.keys():
        yield f"{INDEX_FILE} does not list the tensors that are there"


def _difference(name: str, found: Tensor, expected: Tensor) -> Iterator[str]:
    for part in ("shape", "dtype"):
        if getattr(found, part) != getattr(expected, part):
            yield f"the tensor {name} has {part} {getattr(found, part)} instead of {getattr(expected, part)}"
            return
    if found.digest != expected.digest:
        yield f"the tensor {name} has other values than before the export"


def tensors_in(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a safetensors file, one at a time. Raises UserError when it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118  a handle is no mapping
                yield name, Tensor.of(handle.get_tensor(name))
    except SafetensorError as error:
        raise UserError(f"{file} cannot be read: {first_line(error)}") from error


def _config_faults(directory: Path, expected: Expected) -> Iterator[str]:
    """Settings of the architecture that differ from the base, and tensors that do not fit them."""
    if expected.config is None:
        return
    found = plain_config(str(directory))
    for name, (here, there) in sorted(_differing(found, expected.config).items()):
        yield f"config.json: {name} is {here!r}, the base has {there!r}"
    config = load_config(str(directory))
    promised = set(mtp_shapes(config)) if config.text_config.num_nextn_predict_layers else set()
    if lacking := promised - expected.tensors.keys():
        yield f"config.json promises a multi-token-prediction layer, but {len(lacking)} of its tensors are not there"


def _differing(found: Mapping[str, Any], base: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted name -> (value here, value in the base), of the settings that an export must not change."""
    differing: dict[str, tuple[Any, Any]] = {}
    for name in (found.keys() | base.keys()) - MAY_DIFFER:
        here, there = found.get(name), base.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            differing |= _differing(here, there, f"{prefix}{name}.")
        elif here != there:
            differing[prefix + name] = (here, there)
    return differing


def _stop_faults(directory: Path, expected: Expected) -> Iterator[str]:
    if expected.config is None:
        return  # the base's file is read
    found = read_object(directory / "generation_config.json").get("eos_token_id")
    ids = [found] if isinstance(found, int) else list(found or [])
    if sorted(ids) != sorted(expected.stops):
        yield f"generation_config.json stops at {ids}; an answer ends at any of {expected.stops}"


def _processor_faults(directory: Path, expected: Expected) -> Iterator[str]:
    processor = load_processor(directory)
    found = _image_settings(processor)
    for name in sorted(found.keys() | expected.image_processor.keys()):
        if found.get(name) != expected.image_processor.get(name):
            yield f"processor_config.json: {name} is {found.get(name)}, it was {expected.image_processor.get(name)}"
    legacy = read_object(directory / "preprocessor_config.json").get("size")
    if legacy != expected.image_processor["size"]:
        yield f"preprocessor_config.json: size is {legacy}, it was {expected.image_processor['size']}"
    if processor.chat_template != expected.template:
        yield "chat_template.jinja is another one than the model was tuned with"
    ids = tuple(PromptRenderer(processor, expected.prompt_format).prompt_ids(expected.prompt, 1))
    if ids != expected.prompt_ids:
        yield f"the prompt is rendered as the tokens {list(ids)}; it was tuned with {list(expected.prompt_ids)}"
