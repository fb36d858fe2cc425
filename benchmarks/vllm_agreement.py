"""Does a running vLLM answer as transformers does, token for token, and does its MTP layer draft anything?

Start a server on a checkpoint of this project first, for instance

    vllm serve glm_ocr_finetune/assets/tiny --served-model-name glm-ocr --dtype float32 --port 8000 \\
        --speculative-config '{"method": "mtp", "num_speculative_tokens": 1}'

then, with the lines of a data set:

    python -m benchmarks.vllm_agreement --model tiny --dataset_name DATA --server http://127.0.0.1:8000

It prints how many of the answers have equal token ids, and the share of drafted tokens that vLLM accepted.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import re
import urllib.request
from typing import Any

from glm_ocr_finetune.args import DataArguments
from glm_ocr_finetune.data.samples import sample_of
from glm_ocr_finetune.data.splits import load_splits
from glm_ocr_finetune.inputs.images import open_upright
from glm_ocr_finetune.inputs.prompt import PromptRenderer
from glm_ocr_finetune.model.loading import load_for_reading
from glm_ocr_finetune.reading.generate import generate

ACCEPTED, DRAFTED = "vllm:spec_decode_num_accepted_tokens_total", "vllm:spec_decode_num_draft_tokens_total"


def ask(server: str, image: Any, prompt: str, max_tokens: int) -> list[int]:
    """Token ids of the server's greedy answer, the stop token included. The image is sent as PNG, without loss."""
    buffer = io.BytesIO()
    open_upright(image).save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": prompt}]
    body = {
        "model": "glm-ocr",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "return_token_ids": True,
    }
    request = urllib.request.Request(
        f"{server}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        answer = json.load(response)
    return list(answer["choices"][0]["token_ids"])


def counter(server: str, name: str) -> float:
    """A counter of the server's /metrics, summed over its labels; 0 when it is not there."""
    with urllib.request.urlopen(f"{server}/metrics", timeout=60) as response:
        text = response.read().decode()
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dataset_name", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--max_tokens", type=int, default=96)
    args = parser.parse_args()
    model, processor, prompt_format = load_for_reading(args.model, device_map="cpu")
    renderer = PromptRenderer(processor, prompt_format)
    data_args = DataArguments(dataset_name=args.dataset_name, train_split=args.split, max_samples=args.samples)
    samples = load_splits(data_args, renderer, None, 0, evaluate=False).train
    before = counter(args.server, ACCEPTED), counter(args.server, DRAFTED)
    equal = 0
    for sample in map(sample_of, samples):
        image, prompt = sample.image, sample.prompt
        here = generate(model, renderer, [image], [prompt], args.max_tokens)[0]
        expected = here.token_ids + ([renderer.stop_token_id] if here.stopped else [])
        there = ask(args.server, image, prompt, args.max_tokens)
        equal += there == expected
        if there != expected:
            print("differ:", sample.source, repr(here.text), repr(renderer.tokenizer.decode(there)))
    accepted, drafted = (
        counter(args.server, name) - old for name, old in zip((ACCEPTED, DRAFTED), before, strict=True)
    )
    print(f"{equal} of {len(samples)} answers have the same token ids as transformers")
    share = f", {accepted / drafted:.1%}" if drafted else " (no MTP)"
    print(f"MTP: {accepted:.0f} of {drafted:.0f} drafted tokens accepted{share}")


if __name__ == "__main__":
    main()
