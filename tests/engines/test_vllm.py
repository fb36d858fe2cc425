"""vLLM answers with the exported files as the model did before: plain, with drafts, with a live adapter, to the SDK."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from exports import MAX_TOKENS, engine, exported, readings
from serving import Line, Tally, ask, command_of, compare, counter, free_port, gaps_of, running, without_stop

pytestmark = pytest.mark.engines

# What a CPU without room needs, and fp32, so that token ids can be compared; the rest is the printed command.
HERE = ("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "2", "--skip-mm-profiling", "--host", "127.0.0.1")
ENVIRONMENT = {
    **{"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
    **{"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
}


@contextlib.contextmanager
def vllm(export: Path, log: Path, drafts: bool) -> Iterator[str]:
    """A server started as the export says; without drafts, without that part of the command."""
    port = free_port()
    words = command_of(export, *HERE, "--port", str(port))
    if not drafts and "--speculative-config" in words:
        where = words.index("--speculative-config")
        del words[where : where + 2]
    words[0] = str(engine("vllm") / "bin" / "vllm")
    with running(words, f"http://127.0.0.1:{port}/health", log, ENVIRONMENT):
        yield f"http://127.0.0.1:{port}"


def tally_of(server: str, model: str, lines: list[Line], stops: list[int]) -> Tally:
    tally = Tally()
    for line in lines:
        options = {"temperature": 0, "return_token_ids": True, "logprobs": True, "top_logprobs": 5}
        choice = ask(server, model, line, MAX_TOKENS, **options)
        compare(tally, line, without_stop(choice["token_ids"], stops), gaps_of(choice))
    print(f"{model}: {tally}")
    return tally


@pytest.fixture(scope="module")
def plain_server(full_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm(full_export, tmp_path_factory.mktemp("log") / "vllm.log", drafts=False) as server:
        yield server


def test_plain(plain_server: str, full_export: Path, full_lines: list[Line], stops: list[int]) -> None:
    assert tally_of(plain_server, full_export.name, full_lines, stops).different == []


def test_the_sdk_gets_what_evaluate_like_sdk_says(
    plain_server: str, full_export: Path, full_run: Path, tmp_path: Path
) -> None:
    lines = readings(full_export, full_run, like_sdk=True)
    order = {"server": plain_server, "model": full_export.name, "max_tokens": MAX_TOKENS}
    told = sdk_texts(order | {"images": [str(line.image) for line in lines]}, tmp_path)
    different = [
        (line.image.name, line.text, text) for line, text in zip(lines, told, strict=True) if line.text.strip() != text
    ]
    print(f"SDK: {len(lines) - len(different)} of {len(lines)} texts the same", *different, sep="\n")
    assert len(different) <= len(lines) // 20


def sdk_texts(order: dict[str, object], folder: Path) -> list[str]:
    (folder / "order.json").write_text(json.dumps(order))
    program = Path(__file__).with_name("ask_by_sdk.py")
    python = engine("sdk") / "bin" / "python"
    subprocess.run([python, program, folder / "order.json", folder / "texts.json"], check=True)
    return list(json.loads((folder / "texts.json").read_text()))


def test_drafts_change_no_answer(full_export: Path, full_lines: list[Line], stops: list[int], tmp_path: Path) -> None:
    with vllm(full_export, tmp_path / "vllm.log", drafts=True) as server:
        assert tally_of(server, full_export.name, full_lines, stops).different == []
        drafted, accepted = (
            counter(server, f"vllm:spec_decode_num_{name}_tokens_total") for name in ("draft", "accepted")
        )
    print(f"{accepted:.0f} of {drafted:.0f} drafted tokens accepted, {accepted / drafted:.1%}")
    assert accepted > 0


def test_a_live_adapter(lora_run: Path, stops: list[int], tmp_path: Path) -> None:
    export = exported(lora_run, "adapter", tmp_path)
    lines = readings(lora_run, lora_run)
    with vllm(export, tmp_path / "vllm.log", drafts=False) as server:
        assert tally_of(server, export.name, lines, stops).different == []
