"""llama.cpp converts the export, text and vision tower, and answers as the model did before."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from exports import MAX_TOKENS, engine, exported, readings
from serving import ENGINES, Tally, ask, command_of, compare, free_port, gaps_of, running, without_stop

from glm_ocr_finetune.exporting.engines import gguf_files

pytestmark = pytest.mark.engines

# Weights in f32 too, though they are bf16 numbers: beside bf16 ones llama.cpp rounds what they are multiplied with.
EXACT = ("-ctk", "f32", "-ctv", "f32", "-fa", "off")  # keys and values in fp32, as the model was read before


def test_ids_are_the_same(full_run: Path, stops: list[int], tmp_path: Path) -> None:
    folder = engine("llama.cpp")
    export = exported(full_run, "gguf", tmp_path)
    as_they_are, at_size = readings(export, full_run), readings(export, full_run, fitted=tmp_path)
    source = next(path.parent for path in folder.rglob("convert_hf_to_gguf.py"))
    text, image = gguf_files(export.resolve())
    converter = [
        ENGINES / "transformers" / "bin" / "python",
        Path(__file__).with_name("convert_tiny.py"),
        source,
        export,
    ]
    for more in (["--outfile", text], ["--mmproj", "--outfile", image]):
        subprocess.run([*converter, "--outtype", "f32", *more], check=True)
    port = free_port()
    words = command_of(export, "--host", "127.0.0.1", "--port", str(port), "--threads", "1", *EXACT)
    words[0] = str(folder / "build" / "bin" / "llama-server")
    server = f"http://127.0.0.1:{port}"
    tallies = {"at their final size": Tally(), "as they are": Tally()}
    with running(words, f"{server}/health", tmp_path / "llama.log"):
        for lines, tally in zip((at_size, as_they_are), tallies.values(), strict=True):
            for line in lines:
                choice = ask(server, export.name, line, MAX_TOKENS, temperature=0, logprobs=True, top_logprobs=5)
                found = [token["id"] for token in choice["logprobs"]["content"]]
                if choice["message"]["content"] == line.text:  # the list lacks tokens that begin a character of several
                    found = line.ids
                compare(tally, line, without_stop(found, stops), gaps_of(choice))
    print("llama.cpp, images", *(f"{name}: {tally}" for name, tally in tallies.items()), sep="\n")
    assert tallies["at their final size"].different == []
