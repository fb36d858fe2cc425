"""The model card: ours in every folder, true to the run, valid for the hub, and its code runs."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from glm_ocr_finetune.inputs.processor import PixelBudget
from glm_ocr_finetune.model.checkpoint import Sidecar
from glm_ocr_finetune.training.model_card import Card, render_card

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--report_to", "none", "--disable_tqdm", "True", "--max_steps", 2, "--save_steps", 1)
HUB_CARD = Card(
    location="owner/tuned",
    sidecar=Sidecar("zai-org/GLM-OCR", "Text Recognition:", "serve"),
    data="owner/lines",
    counts=(1000, 100),
    budget=PixelBudget(6272, 100_352),
    recipe={"method": "full fine-tuning"},
    lora_rank=None,
    drafts=True,
    scores=None,
    step=7,
)


@pytest.fixture(scope="module")
def trained(line_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A full run with an evaluation, and a LoRA run without one in the other prompt format."""
    from glm_ocr_finetune.cli import main

    folder = tmp_path_factory.mktemp("cards")
    lora = ["--use_lora", "True", "--prompt_format", "no_think", "--max_pixels", 7840, "--eval_strategy", "no"]
    for name, flags in {"full": ["--eval_steps", 1, "--eval_split_size", 0.5], "lora": lora}.items():
        words = ["train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--output_dir", folder / name]
        assert main([str(word) for word in [*words, *flags, *QUICK]]) == 0
    return {"full": folder / "full", "lora": folder / "lora"}


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["full", "full/checkpoint-1", "full/checkpoint-2", "lora", "lora/checkpoint-2"])
def test_every_folder_has_our_card(trained: dict[str, Path], name: str) -> None:
    run, *checkpoint = name.split("/")
    text = card_of(trained[run].joinpath(*checkpoint))
    assert f"\n# {checkpoint[0] if checkpoint else run}\n" in text
    assert f"glm-ocr-finetune infer --model {name} --image" in text
    for others in ("TRL", "None", "More Information Needed", "time machine"):
        assert others not in text.split("## Versions")[0]


def test_it_says_how_much_data_and_gives_no_path_away(trained: dict[str, Path], line_folder: Path) -> None:
    text = card_of(trained["full"])
    assert f"from `tiny-random` on 6 samples of `{line_folder.name}`; 6 others were held out" in text
    assert str(line_folder.parent) not in text
    assert "language model (2,043,072 parameters)" in text
    assert "| frozen | vision tower, multi-modal projector |" in text


def test_its_error_rates_are_those_of_the_run(trained: dict[str, Path]) -> None:
    summary = json.loads((trained["full"] / "summary.json").read_text(encoding="utf-8"))
    found = re.search(r"\(CER\) \| (\S+) \((\S+) to (\S+)\) \| (\S+) \((\S+) to (\S+)\) \|", card_of(trained["full"]))
    assert found
    base, low, high, tuned, *_ = map(float, found.groups())
    assert (base, tuned) == pytest.approx((summary["base"]["corpus_cer"], summary["tuned"]["corpus_cer"]), abs=5e-5)
    assert low <= base <= high
    assert summary["verdict_text"] in card_of(trained["full"])


def test_readings_of_an_earlier_run_are_not_taken_for_its_own(
    trained: dict[str, Path], line_folder: Path, tmp_path: Path, run: Run
) -> None:
    folder = shutil.copytree(trained["full"], tmp_path / "again")
    words = ("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--output_dir", folder, *QUICK)
    assert run(*words, "--eval_strategy", "no", "--overwrite_output_dir", "True")[0] == 0
    assert "Not evaluated by reading" in card_of(folder)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_its_python_code_reads_what_infer_reads(
    trained: dict[str, Path], line_folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copy(line_folder / "images" / "0.png", tmp_path / "page.png")
    shutil.copytree(trained[name], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", card_of(trained[name]), re.DOTALL)[0]
    code = code.replace("max_new_tokens=4096", "max_new_tokens=12")
    with redirect_stdout(io.StringIO()) as printed:
        exec(code.replace('device_map="auto"', 'device_map="auto", dtype="float32"'), {})  # as infer loads on a CPU
    _, expected, _ = run("infer", "--model", name, "--image", "page.png", "--max_new_tokens", 12)
    assert printed.getvalue() == expected


def test_a_served_adapter_is_given_its_pixel_budget(trained: dict[str, Path]) -> None:
    text = card_of(trained["lora"])
    assert "--enable-lora --max-lora-rank 8 --lora-modules lora=lora" in text
    assert '{"size": {"shortest_edge": 12544, "longest_edge": 15680}}' in text
    assert '"chat_template_kwargs": {"enable_thinking": false}' in text


def test_what_the_hub_reads() -> None:
    data = ModelCard(render_card(HUB_CARD)).data
    assert (data.base_model, data.library_name, data.pipeline_tag) == (
        "zai-org/GLM-OCR",
        "transformers",
        "image-to-text",
    )
    assert (data.datasets, data.to_dict()["base_model_relation"]) == (["owner/lines"], "finetune")
    adapter = ModelCard(render_card(replace(HUB_CARD, lora_rank=12))).data
    assert (adapter.library_name, adapter.to_dict()["base_model_relation"]) == ("peft", "adapter")
    assert "lora" in adapter.tags


def test_a_base_that_is_not_on_the_hub_is_named_but_not_linked(trained: dict[str, Path]) -> None:
    data = ModelCard.load(trained["full"] / "README.md").data
    assert data.base_model is None
    assert data.datasets is None


def test_the_serving_command_drafts_only_with_a_layer_that_drafts() -> None:
    assert "--speculative-config" in render_card(HUB_CARD)
    assert "--speculative-config" not in render_card(replace(HUB_CARD, drafts=False))
    assert "--max-lora-rank 16 " in render_card(replace(HUB_CARD, lora_rank=12))
