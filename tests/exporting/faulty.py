"""Exports with one thing wrong, each as it has happened to somebody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

QUERY, KEY = "model.language_model.layers.0.mlp.down_proj.weight", "model.language_model.layers.1.mlp.down_proj.weight"


def edit_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the tensors, then write them anew in one file, without an index."""
    weights: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
        file.unlink()
    change(weights)
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def missing_tensor(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop(QUERY))


def swapped_tensors(folder: Path) -> None:
    def swap(weights: dict[str, Any]) -> None:
        weights[QUERY], weights[KEY] = weights[KEY], weights[QUERY]

    edit_weights(folder, swap)


def no_draft_tensors(folder: Path) -> None:
    """What merging by hand with peft leaves."""

    def drop(weights: dict[str, Any]) -> None:
        for name in [name for name in weights if ".layers.4." in name]:
            del weights[name]

    edit_weights(folder, drop)


def one_stop_gone(folder: Path) -> None:
    edit_json(folder / "generation_config.json", lambda config: config.update(eos_token_id=config["eos_token_id"][:1]))


def other_pixel_budget(folder: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["image_processor"]["size"] = {"shortest_edge": 12544, "longest_edge": 9633792}

    edit_json(folder / "processor_config.json", change)


def other_template(folder: Path) -> None:
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace('"<|assistant|>\\n" ~', '"<|assistant|>" ~'))


def other_depth(folder: Path) -> None:
    edit_json(folder / "config.json", lambda config: config["text_config"].update(num_hidden_layers=3))


FAULTS: dict[Callable[[Path], None], str] = {  # what is done -> what is said
    missing_tensor: f"the tensor {QUERY} is missing",
    swapped_tensors: f"the tensor {QUERY} has other values than before the export",
    no_draft_tensors: "the tensor model.language_model.layers.4.eh_proj.weight is missing",
    one_stop_gone: r"generation_config.json stops at \[257\]; an answer ends at any of \[257, 264\]",
    other_pixel_budget: r"processor_config.json: size is .*9633792.*, it was .*12544",
    other_template: "chat_template.jinja is another one than the model was tuned with",
    other_depth: "config.json: text_config.num_hidden_layers is 3, the base has 4",
}
SEEN_BY_READING = (missing_tensor, swapped_tensors, one_stop_gone, other_pixel_budget, other_template, other_depth)
