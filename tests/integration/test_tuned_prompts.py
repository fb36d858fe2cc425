"""The command that a run prints reads with the prompt that the run trained with."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--model_name", "tiny-random", "--report_to", "none", "--disable_tqdm", "True", "--max_steps", 1)


def printed_command(err: str) -> list[str]:
    """The words after ``infer`` of the line that says how to read with the model."""
    (line,) = [line for line in err.splitlines() if line.startswith("read with it: ")]
    words = shlex.split(line)
    return words[words.index("--model") :]


@pytest.mark.parametrize("flags", [(), ("--use_lora", "True")], ids=["full", "lora"])
def test_the_printed_command_asks_as_the_run_did(
    line_folder: Path, tmp_path: Path, run: Run, flags: tuple[str, ...]
) -> None:
    output = tmp_path / "with a blank"
    words = ("train", *QUICK, "--dataset_name", line_folder, "--output_dir", output, "--eval_strategy", "no", *flags)
    code, _, err = run(*words, "--prompt", "Formula Recognition:")
    assert code == 0, err
    image = line_folder / "images" / "0.png"
    command = [str(image) if word == "IMAGE" else word for word in printed_command(err)]
    code, out, err = run("infer", *command, "--max_new_tokens", 8)
    assert code == 0, err
    assert f"prompt 'Formula Recognition:' (serve): what {output} was tuned with" in err
    assert run("infer", *command, "--max_new_tokens", 8, "--prompt", "Formula Recognition:")[1] == out
    words = ("evaluate", "--model", output, "--dataset_name", line_folder, "--max_new_tokens", 1)
    assert run(*words, "--output_dir", tmp_path / "read")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "read" / "predictions.jsonl").read_text().splitlines()]
    assert {row["prompt"] for row in rows} == {"Formula Recognition:"}


def test_the_prompts_of_the_rows_are_what_it_was_tuned_with(line_folder: Path, tmp_path: Path, run: Run) -> None:
    """Data that brings its prompts is not asked for by the default of a flag that nobody gave."""
    shutil.copytree(line_folder / "images", tmp_path / "images")
    prompts = ["Table Recognition:"] * 7 + ["Formula Recognition:"] * 3 + [None] * 2
    rows = [{"image": f"images/{i}.png", "text": "a", "prompt": prompt} for i, prompt in enumerate(prompts)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("train", *QUICK, "--dataset_name", tmp_path / "data.jsonl", "--eval_strategy", "no")
    code, _, err = run(*words, "--output_dir", tmp_path / "run")
    assert code == 0, err
    sidecar = json.loads((tmp_path / "run" / "glm_ocr_finetune.json").read_text())
    assert sidecar["prompt"] == "Table Recognition:"
    assert sidecar["other_prompts"] == ["Formula Recognition:", "Text Recognition:"]
    again = ("train", "--model_name", tmp_path / "run", "--dataset_name", line_folder, "--dry_run", "True")
    assert "prompt = Table Recognition: (what the checkpoint was tuned with)" in run(*again)[2]
