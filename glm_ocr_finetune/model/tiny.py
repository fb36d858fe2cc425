"""A GLM-OCR of five million parameters: the real classes, names and special tokens, small enough for any CPU.

``tiny-random`` is built here from a seed and reads nothing. It has the architecture of zai-org/GLM-OCR in
every respect that can go wrong: an untied head, fused ``gate_up_proj``, sectioned rotary positions, two stop
tokens of which one is also the padding token, and sixteen multi-token-prediction tensors that transformers
drops in silence.

The shape keeps one rule that engines rely on: the text MLP is three times as wide as the vision output
(vLLM sizes the vision merger by the text config, transformers by the vision config; they must agree).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs.special_tokens import SPECIAL_TOKENS

if TYPE_CHECKING:
    import torch
    from transformers import Glm46VProcessor, GlmOcrConfig, GlmOcrForConditionalGeneration, PreTrainedTokenizerFast

TINY_NAMES = ("tiny", "tiny-random")
HIDDEN_SIZE = 192
NUM_LAYERS = 4
NUM_HEADS = 4
NUM_KV_HEADS = 2
HEAD_DIM = 64
MROPE_SECTION = (8, 12, 12)  # temporal, height, width: pairs of HEAD_DIM
VISION_DEPTH = 4
VISION_HEADS = 3
VOCAB_SIZE = 320  # 256 bytes, one merge, 36 special tokens, the rest unused as in the real vocabulary
RANDOM_VERSION = 1  # raise it when the shape changes, so that no stale checkpoint is read
INITIALIZER_RANGE = 0.07  # about 1 / sqrt(HIDDEN_SIZE); with the usual 0.02 nothing is learnt at this width

# Tokens that `skip_special_tokens=True` leaves in the text, as in the real tokenizer.
VISIBLE_TOKENS = frozenset(
    {"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<arg_key>"}
    | {"</arg_key>", "<arg_value>", "</arg_value>", "<|begin_of_box|>", "<|end_of_box|>", "<|image|>", "<|video|>"}
)

# Renders the message shapes this package uses as the template of zai-org/GLM-OCR does; no tools, no reasoning text.
CHAT_TEMPLATE = """\
{%- macro flat(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}
{%- for part in content -%}
{%- if part.type == "image" -%}{{ "<|begin_of_image|><|image|><|end_of_image|>" }}
{%- elif part.type == "text" -%}{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set quiet = enable_thinking is defined and not enable_thinking -%}
{{- "[gMASK]<sop>" -}}
{%- for message in messages -%}
{%- set body = flat(message.content) -%}
{%- if message.role == "system" -%}{{ "<|system|>\\n" ~ body }}
{%- elif message.role == "user" -%}
{{- "<|user|>\\n" ~ body ~ ("/nothink" if quiet and not body.endswith("/nothink") else "") -}}
{%- elif message.role == "assistant" -%}
{%- set answer = body.split("</think>")[-1].strip() -%}
{{- "<|assistant|>\\n<think></think>" ~ ("\\n" ~ answer if answer else "") -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|assistant|>\\n" ~ ("<think></think>\\n" if quiet else "") }}{%- endif -%}
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: one token a byte, then the 36 special tokens in the order of the real vocabulary.

    It has a single merge (two spaces), because converters refuse a byte-pair vocabulary without any.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: index for index, symbol in enumerate(alphabet)}
    space = "\u0120"
    vocab[space + space] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[(space, space)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, special=t not in VISIBLE_TOKENS, normalized=False) for t in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=8192,
    )


def build_processor() -> Glm46VProcessor:
    """The processor of the tiny model, with the image settings and pixel budget of the real one."""
    from transformers import Glm46VImageProcessor, Glm46VProcessor, Glm46VVideoProcessor

    size = {"shortest_edge": 12544, "longest_edge": 9633792}
    return Glm46VProcessor(
        image_processor=Glm46VImageProcessor(size=size),
        tokenizer=build_tokenizer(),
        video_processor=Glm46VVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )


def build_config() -> GlmOcrConfig:
    """The configuration, with the keys of the real ``config.json``."""
    from transformers import GlmOcrConfig

    ids = {token: 257 + index for index, token in enumerate(SPECIAL_TOKENS)}
    eos = [ids["<|endoftext|>"], ids["<|user|>"]]
    text = {
        "model_type": "glm_ocr_text",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": 3 * HIDDEN_SIZE,
        "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": NUM_HEADS,
        "num_key_value_heads": NUM_KV_HEADS,
        "head_dim": HEAD_DIM,
        "attention_bias": False,
        "max_position_embeddings": 8192,
        "num_nextn_predict_layers": 1,
        "initializer_range": INITIALIZER_RANGE,
        "eos_token_id": eos,
        "pad_token_id": eos[0],
        "tie_word_embeddings": False,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000,
            "partial_rotary_factor": 1.0,
            "mrope_section": list(MROPE_SECTION),
        },
    }
    vision = {
        "model_type": "glm_ocr_vision",
        "hidden_size": HIDDEN_SIZE,
        "depth": VISION_DEPTH,
        "num_heads": VISION_HEADS,
        "intermediate_size": 3 * HIDDEN_SIZE,
        "out_hidden_size": HIDDEN_SIZE,
        "initializer_range": INITIALIZER_RANGE,
    }
    return GlmOcrConfig(
        architectures=["GlmOcrForConditionalGeneration"],
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
        image_start_token_id=ids["<|begin_of_image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
        tie_word_embeddings=False,
    )


def build_model(seed: int = 0) -> GlmOcrForConditionalGeneration:
    """The model in fp32 with random weights drawn from ``seed``."""
    import torch
    from transformers import GenerationConfig, GlmOcrForConditionalGeneration

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GlmOcrForConditionalGeneration(build_config())
    text = model.config.text_config
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
    )
    return model


def build_mtp_tensors(model: GlmOcrForConditionalGeneration, seed: int = 0) -> dict[str, torch.Tensor]:
    """The sixteen multi-token-prediction tensors, random but for the two that copy the trunk's."""
    import torch

    from .mtp import mtp_shapes

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in mtp_shapes(model.config).items():
        if name.endswith("embed_tokens.weight"):
            tensors[name] = model.get_input_embeddings().weight.detach().clone()
        elif name.endswith("shared_head.head.weight"):
            tensors[name] = model.lm_head.weight.detach().clone()
        elif len(shape) == 1:
            tensors[name] = torch.ones(shape)
        else:
            tensors[name] = torch.randn(shape, generator=generator) * INITIALIZER_RANGE
    return tensors


def write_random(directory: str | Path, seed: int = 0) -> Path:
    """Write ``tiny-random`` as a checkpoint directory (bf16, about 11 MB) that transformers and vLLM load."""
    import torch

    from ..inputs.processor import save_processor
    from .checkpoint import save_model

    model = build_model(seed)
    mtp = {name: tensor.to(torch.bfloat16) for name, tensor in build_mtp_tensors(model, seed).items()}
    save_model(model.to(torch.bfloat16), directory, mtp)
    save_processor(build_processor(), directory)
    return Path(directory)


def is_tiny(config: GlmOcrConfig) -> bool:
    """Whether a model has this module's shape: ``tiny``, ``tiny-random``, or what was tuned from them."""
    text = config.text_config
    return (text.hidden_size, text.num_hidden_layers) == (HIDDEN_SIZE, NUM_LAYERS)


def tiny_path(name: str) -> Path:
    """The checkpoint directory of ``tiny`` (shipped with the package) or ``tiny-random`` (made once, then kept)."""
    shipped = Path(__file__).parents[1] / "assets" / "tiny"
    if name == "tiny" and (shipped / "model.safetensors").is_file():
        return shipped
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "glm-ocr-finetune"
    directory = home / f"tiny-random-{RANDOM_VERSION}"
    if not directory.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            made = write_random(Path(scratch) / "tiny")
            # another process may be first: then the rename fails, and its directory serves as well
            with contextlib.suppress(OSError):
                made.rename(directory)
    return directory
