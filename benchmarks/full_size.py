"""Writes a checkpoint of the full-size architecture with random weights, to measure speed and memory with.

    python -m benchmarks.full_size --config_dir DIR --texts DATA/manifest.jsonl --output full-size

DIR holds the small files of the real model (``config.json``, ``chat_template.jinja``, ``processor_config.json``,
``preprocessor_config.json``, ``generation_config.json``); they are copied to the output, the configuration with the
depth that is asked for. The weights are random, so the checkpoint shows how long a step takes and how much memory it
needs, and nothing about reading.

The tokenizer is byte-level, with the special tokens at the ids that the configuration names and unused tokens
between. With ``--texts`` it learns up to ``--num_merges`` merges from that file, so that a label has about as many
tokens as with a real tokenizer and not one a byte; how many characters a token then holds is printed.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
from pathlib import Path
from typing import Any

from glm_ocr_finetune.inputs.special_tokens import SPECIAL_TOKENS
from glm_ocr_finetune.model.tiny import VISIBLE_TOKENS

COPIED = ("chat_template.jinja", "generation_config.json", "preprocessor_config.json", "processor_config.json")


def read_texts(manifest: Path) -> list[str]:
    """The ``text`` of every row of a JSON-lines file."""
    return [json.loads(line)["text"] for line in manifest.read_text(encoding="utf-8").splitlines()]


def learn_merges(texts: list[str], num_merges: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary (256 bytes, then one entry a merge) and merges of a byte-level tokenizer learnt from ``texts``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + num_merges, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    learner.train_from_iterator(texts, trainer)
    learnt = json.loads(learner.to_str())["model"]
    return learnt["vocab"], [tuple(merge) for merge in learnt["merges"]]


def build_tokenizer(first_special_id: int, texts: list[str], num_merges: int) -> Any:
    """A byte-level tokenizer whose special tokens start at ``first_special_id``, in the order of the real one."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab, merges = learn_merges(texts, num_merges)
    vocab |= {f"<unused_{index}>": index for index in range(len(vocab), first_special_id)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(t, special=t not in VISIBLE_TOKENS, normalized=False) for t in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=131072,
    )


def build_config(config_dir: Path, num_layers: int | None, vision_depth: int | None, dtype: str = "float32") -> Any:
    """The configuration in ``dtype``, of the asked depth, and without the multi-token-prediction layer."""
    from transformers import GlmOcrConfig

    config = GlmOcrConfig.from_pretrained(config_dir)
    config.text_config.num_hidden_layers = num_layers or config.text_config.num_hidden_layers
    config.vision_config.depth = vision_depth or config.vision_config.depth
    config.text_config.num_nextn_predict_layers = 0
    for part in (config, config.text_config, config.vision_config):
        part.dtype = dtype
    return config


def write_checkpoint(
    config_dir: Path,
    output: Path,
    num_layers: int | None = None,
    vision_depth: int | None = None,
    texts: list[str] | None = None,
    num_merges: int = 4000,
    seed: int = 0,
    device: str = "cpu",
    dtype: str = "float32",
) -> Path:
    """Write the checkpoint directory and return it.

    The weights are drawn on ``device`` with the configuration's deviation. ``tokenizer.json`` is taken as it is where
    there is one, and made up where there is none.

    Raises:
        ValueError: the tokenizer does not fit the configuration.
    """
    import torch
    from transformers import AutoTokenizer, GlmOcrForConditionalGeneration

    config = build_config(config_dir, num_layers, vision_depth, dtype)
    if (config_dir / "tokenizer.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(config_dir)
    else:
        tokenizer = build_tokenizer(config.text_config.eos_token_id[0], texts or [], num_merges)
    if (image_id := tokenizer.convert_tokens_to_ids("<|image|>")) != config.image_token_id:
        raise ValueError(f"<|image|> is token {image_id}; {config_dir}/config.json says {config.image_token_id}")
    torch.manual_seed(seed)
    with torch.device(device):
        model = GlmOcrForConditionalGeneration(config)
    model.to(getattr(torch, dtype)).save_pretrained(output)
    tokenizer.save_pretrained(output)
    for name in COPIED:
        shutil.copyfile(config_dir / name, output / name)
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="JSON lines with a text each, to learn merges from")
    parser.add_argument("--num_merges", type=int, default=4000)
    parser.add_argument("--num_layers", type=int, help="text layers, for smoke tests; default: the configuration's")
    parser.add_argument("--vision_depth", type=int, help="vision blocks, for smoke tests; default: the configuration's")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    texts = read_texts(args.texts) if args.texts else []
    write_checkpoint(
        args.config_dir, args.output, args.num_layers, args.vision_depth, texts, args.num_merges, args.seed
    )

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.output)
    size = sum(file.stat().st_size for file in args.output.glob("*.safetensors")) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux gives it in KiB
    print(f"{args.output}: {size:.2f} GB of weights, written with a peak of {peak:.1f} GB")
    if texts:
        tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        print(f"a token holds {sum(map(len, texts)) / tokens:.2f} characters of {args.texts}")


if __name__ == "__main__":
    main()
