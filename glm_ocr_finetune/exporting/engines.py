"""What each engine wants of an export, and the command that serves it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..inputs.geometry import FRAMES, PIXELS_PER_TOKEN
from ..inputs.processor import PixelBudget
from ..inputs.special_tokens import STOP_TOKEN
from ..training.model_card import VLLM_RANKS
from .files import END_TOKEN

WITHOUT_DRAFTS = ("gguf", "ollama")  # they keep the layer out of what they run: 435 MB of the real model for nothing
SDK_ANSWER = 8_192  # tokens that the official SDK asks its server for
REQUEST = 64  # tokens around the image, and some more
STEP = 1_024
MODELFILE = "Modelfile"


@dataclass(frozen=True)
class Served:
    """What the command depends on.

    Attributes:
        directory: the export.
        longest: positions that the model has, in tokens.
        drafts: whether the export holds a multi-token-prediction layer.
        base: of an adapter, else None.
        rank: of an adapter.
        thinks: whether a request is served as it is by default; else it has to turn thinking off.
    """

    directory: Path
    budget: PixelBudget
    longest: int
    drafts: bool
    base: str | None = None
    rank: int = 0
    prompt_format: str = "serve"

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def max_model_len(self) -> int:
        """Tokens of the largest image, the request and the longest answer, in steps of 1,024; what the model has at most."""
        needed = self.budget.max_pixels // PIXELS_PER_TOKEN + REQUEST + SDK_ANSWER
        return min(self.longest, -(-needed // STEP) * STEP)


def serving_command(engine: str, served: Served) -> str:
    """The command to type, several lines of it where the files have to be converted first."""
    return {
        "transformers": _transformers,
        "vllm": _vllm,
        "adapter": _vllm_adapter,
        "sglang": _sglang,
        "gguf": _llama_server,
        "ollama": _ollama,
    }[engine](served)


def _lines(*parts: str) -> str:
    return " \\\n  ".join(part for part in parts if part)


def _transformers(served: Served) -> str:
    return f"transformers serve {_path(served.directory)} --dtype bfloat16"


def _vllm(served: Served) -> str:
    drafting = json.dumps({"method": "mtp", "num_speculative_tokens": 1})
    return _lines(
        f"vllm serve {_path(served.directory)} --served-model-name {shlex.quote(served.name)}",
        _vllm_limits(served),
        f"--speculative-config '{drafting}'" if served.drafts else "",
    )


def _vllm_limits(served: Served) -> str:
    return f"--max-model-len {served.max_model_len} --limit-mm-per-prompt '{json.dumps({'image': 1, 'video': 0})}'"


def _vllm_adapter(served: Served) -> str:
    """An adapter is served with its base's processor, so its own pixel budget is handed over."""
    rank = next((rank for rank in VLLM_RANKS if rank >= served.rank), served.rank)
    return _lines(
        f"vllm serve {_path(served.base)}",
        f"--enable-lora --max-lora-rank {rank} --lora-modules {shlex.quote(served.name)}={_path(served.directory)}",
        f"--mm-processor-kwargs '{json.dumps({'size': size_of(served.budget)})}'",
        _vllm_limits(served),
    )


def size_of(budget: PixelBudget) -> dict[str, int]:
    """The pixel budget as the image processor counts it."""
    return {"shortest_edge": FRAMES * budget.min_pixels, "longest_edge": FRAMES * budget.max_pixels}


def _sglang(served: Served) -> str:
    drafting = "--speculative-algorithm NEXTN --speculative-num-steps 1 --speculative-eagle-topk 1"
    return _lines(
        f"python -m sglang.launch_server --model-path {_path(served.directory)}",
        f"--served-model-name {shlex.quote(served.name)} --context-length {served.max_model_len}",
        f"{drafting} --speculative-num-draft-tokens 2" if served.drafts else "",
    )


def _llama_server(served: Served) -> str:
    """llama.cpp has image bounds of its own (8 to 4,096 tokens), so ours are handed over; and it turns thinking off for
    templates in which it recognises none, which is the prompt of ``no_think``, so that is settled too.
    """
    text, image = gguf_files(served.directory)
    low, high = (-(-served.budget.min_pixels // PIXELS_PER_TOKEN), served.budget.max_pixels // PIXELS_PER_TOKEN)
    return _lines(
        f"llama-server -m {_path(text)} --mmproj {_path(image)} --jinja -c {served.max_model_len}",
        f"--image-min-tokens {low} --image-max-tokens {high}",
        f"--reasoning {'on' if served.prompt_format == 'serve' else 'off'}",
    )


def gguf_files(directory: Path) -> tuple[Path, Path]:
    """Where the language model and the vision tower go."""
    return directory / f"{directory.name}-bf16.gguf", directory / f"{directory.name}-mmproj-bf16.gguf"


def _ollama(served: Served) -> str:
    create = f"ollama create {shlex.quote(served.name.lower())} -f {_path(served.directory / MODELFILE)}"
    return f"{create}\nollama run {shlex.quote(served.name.lower())} {shlex.quote('Text Recognition: ./page.png')}"


def modelfile(served: Served) -> str:
    """Ollama's recipe: it converts the folder itself, and has its own renderer and parser for this model."""
    stops = "".join(f'PARAMETER stop "{token}"\n' for token in (STOP_TOKEN, END_TOKEN))
    return (
        f"FROM .\nRENDERER glm-ocr\nPARSER glm-ocr\n{stops}"
        f"PARAMETER temperature 0\nPARAMETER num_ctx {served.max_model_len}\n"
    )


def request_note(engine: str, served: Served) -> str:
    """What each request has to say beside the usual; empty where nothing."""
    if served.prompt_format == "serve" or engine == "gguf":  # llama-server is started with its prompt format
        return ""
    if engine == "ollama":
        return 'Each request has to carry "think": false'
    return 'Each request has to carry "chat_template_kwargs": {"enable_thinking": false}'


def _path(path: Path | str | None) -> str:
    return shlex.quote(str(path))
