"""A program of its own: read images with a checkpoint directory, by transformers alone and nothing of this package.

``python fresh.py ORDER.json ANSWERS.json``. The order names the directory and maybe an adapter, the device, the prompt
format, the longest answer and the images with their prompts. The answers are, for each image, the token ids of the
prompt and of the answer with its stop token, and the text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def read(order: dict[str, Any]) -> list[dict[str, Any]]:
    """An answer for each image of the order, greedily and one image at a time."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model: Any = AutoModelForImageTextToText.from_pretrained(order["model"], dtype=torch.float32)
    processor: Any = AutoProcessor.from_pretrained(order["adapter"] or order["model"])
    if order["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, order["adapter"])
    model = model.to(order["device"]).eval()
    thinking = {"enable_thinking": False} if order["prompt_format"] == "no_think" else {}
    answers = []
    for one in order["images"]:
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": one["prompt"]}]}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **thinking)
        inputs = processor(images=[Image.open(one["file"])], text=[text], return_tensors="pt").to(order["device"])
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=order["max_new_tokens"], do_sample=False)
        prompt = inputs["input_ids"][0].tolist()
        answer = output[0, len(prompt) :].tolist()
        answers.append({"prompt": prompt, "answer": answer, "text": processor.decode(answer, skip_special_tokens=True)})
    return answers


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps(read(asked), ensure_ascii=False), encoding="utf-8")
