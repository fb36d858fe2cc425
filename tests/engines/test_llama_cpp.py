"""llama.cpp converts the export, text and vision tower, and answers as the model did before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from exports import MAX_TOKENS, engine, exported, readings
from serving import ENGINES, Tally, ask, command_of, compare, free_port, gaps_of, running, without_stop

from glm_ocr_finetune.exporting.engines import gguf_files

pytestmark = pytest.mark.engines

EXACT = ("-ctk", "f32", "-ctv", "f32", "-fa", "off")  # keys and values in fp32, as the model was read before


def test_ids_are_the_same(full_run: Path, stops: list[int], tmp_path: Path) -> None:
    folder = engine("llama.cpp")
    export = exported(full_run, "gguf", tmp_path)
    lines = readings(export, full_run)
    source = next(path.parent for path in folder.rglob("convert_hf_to_gguf.py"))
    text, image = gguf_files(export.resolve())
    converter = [
        ENGINES / "transformers" / "bin" / "python",
        Path(__file__).with_name("convert_tiny.py"),
        source,
        export,
    ]
    for more in (["--outfile", text], ["--mmproj", "--outfile", image]):
        subprocess.run([*converter, "--outtype", "bf16", *more], check=True)
    port = free_port()
    words = command_of(export, "--host", "127.0.0.1", "--port", str(port), "--threads", "1", *EXACT)
    words[0] = str(folder / "build" / "bin" / "llama-server")
    server = f"http://127.0.0.1:{port}"
    tally = Tally()
    with running(words, f"{server}/health", tmp_path / "llama.log"):
        for line in lines:
            choice = ask(server, export.name, line, MAX_TOKENS, temperature=0, logprobs=True, top_logprobs=5)
            found = [token["id"] for token in choice["logprobs"]["content"]]
            compare(tally, line, without_stop(found, stops), gaps_of(choice))
    print(f"llama.cpp: {tally}")
    assert tally.different == []
