"""``transformers serve`` answers with the exported files as the model did before."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import MAX_TOKENS, engine, exported, readings
from serving import ask, command_of, free_port, running

pytestmark = pytest.mark.engines


def test_texts_are_the_same(full_run: Path, tmp_path: Path) -> None:
    export = exported(full_run, "transformers", tmp_path)
    lines = readings(export, full_run)
    port = free_port()
    words = command_of(export, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    words[words.index("bfloat16")] = "float32"
    words[0] = str(engine("transformers") / "bin" / "transformers")
    server = f"http://127.0.0.1:{port}"
    with running(words, f"{server}/health", tmp_path / "serve.log", {"HF_HUB_OFFLINE": "1"}):
        told = [ask(server, str(export.resolve()), line, MAX_TOKENS)["message"]["content"] for line in lines]
    different = [
        (line.image.name, line.text, text) for line, text in zip(lines, told, strict=True) if line.text != text
    ]
    print(f"transformers serve: {len(lines) - len(different)} of {len(lines)} texts the same", *different, sep="\n")
    assert different == []
