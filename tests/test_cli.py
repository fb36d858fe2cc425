"""The command: an overview, help at once, one line for a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from drawing import WORDS, write_lines

from glm_ocr_finetune.cli import COMMANDS

Run = Callable[..., tuple[int, str, str]]
CLONE = Path(__file__).parents[1]


def test_the_overview_names_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  ")] == list(COMMANDS)
    assert run()[0] == 2


def test_version(run: Run) -> None:
    assert run("--version") == (0, version("glm-ocr-finetune") + "\n", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: glm-ocr-finetune {command}")
    assert "--output" in out or "--image" in out or command == "doctor"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from glm_ocr_finetune.cli import main; main(['train', '--help'])\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


STREAMED = ["train", "--dataset_name", ".", "--streaming", "True", "--max_steps", "5"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--learning_rat", "1"], "did you mean --learning_rate?"),
        (["train", "--dataset_name", ".", "--packing", "True"], "--packing True is not supported"),
        (["train", "--dataset_name", ".", "--learning_rate", "-1"], "--learning_rate is -1"),
        (["train", "--dataset_name", "no/where/at/all"], "'no/where/at/all' (--dataset_name)"),
        (["train", "--dataset_name", ".", "--probe_dataset", "no/where/at/all"], "(--probe_dataset)"),
        (["train"], "--dataset_name is required"),
        (["evaluate", "--dataset_name", "no/where/at/all"], "'no/where/at/all' (--dataset_name)"),
        (["infer", "--images", "x"], "did you mean --image?"),
        (["infer", "--image", "nowhere.png"], "--image nowhere.png does not exist"),
        (["infer", "--image", "nowhere.png", "--output_dir", "x"], "--image nowhere.png does not exist"),
        (["infer", "--image", ".", "--task", "json"], "--task json has no fields to ask for here"),
        (["infer", "--image", ".", "--output_format", "text"], "--output_format needs --output_dir"),
        (["export", "--max_shard_size", "2XB"], "--max_shard_size 2XB is no size of a file; expected for instance"),
        ([*STREAMED, "--level", "line"], "--level does not work with --streaming True"),
        ([*STREAMED, "--train_sampling_strategy", "group_by_length"], "group_by_length does not work with --streaming"),
        ([*STREAMED, "--max_steps", "-1"], "--streaming True needs --max_steps"),
        (["trian"], "unknown command 'trian'; did you mean train?"),
    ],
)
def test_what_is_cheap_to_find_wrong_is_told_before_anything_heavy_is_imported(words: list[str], message: str) -> None:
    program = (
        f"import sys; from glm_ocr_finetune.cli import main; assert main({words}) == 2\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert message in done.stderr.splitlines()[-1]


def test_data_are_read_before_weights_and_before_the_network_is_asked(
    run: Run, tiny_random: Path, tmp_path: Path
) -> None:
    """A model without weights gets as far as the data; with sound data the weights are what is missing."""
    for file in tiny_random.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    write_lines(tmp_path / "lines", "train", WORDS[:4])
    common = ("train", "--model_name", tmp_path, "--report_to", "none", "--output_dir", tmp_path / "out")
    common = (*common, "--dataset_name", tmp_path / "lines")
    assert "no split 'nope'" in run(*common, "--train_split", "nope")[2].splitlines()[-1]
    code, _, err = run(*common)
    assert code == 2
    assert "holds no model that can be read" in err.splitlines()[-1]


@pytest.mark.parametrize(("file", "command"), [("finetune.py", "train"), ("inference.py", "infer")])
def test_the_given_names_are_the_commands(run: Run, file: str, command: str) -> None:
    env = os.environ | {"COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, str(CLONE / file), "--help"], cwd=CLONE, capture_output=True, text=True, env=env
    )
    assert done.stdout.startswith(f"usage: {file}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        _, expected, _ = run(command, "--help")
    assert [line for line in done.stdout.splitlines() if line.startswith("  --")] == [
        line for line in expected.splitlines() if line.startswith("  --")
    ]


def test_a_mistake_is_one_line_and_code_2(run: Run) -> None:
    code, out, err = run("report", "--run", "a", "--tuned", "b")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")


@pytest.mark.parametrize("flag", ["--dataset_name", "--config", "--resume_from_checkpoint"])
def test_a_name_that_no_file_can_have_is_one_line(run: Run, flag: str, tmp_path: Path) -> None:
    write_lines(tmp_path, "lines", WORDS[:4])
    data = [] if flag == "--dataset_name" else ["--dataset_name", str(tmp_path / "lines.jsonl")]
    code, _, said = run("train", flag, "a" * 5000, "--output_dir", str(tmp_path / "run"), "--model_name", "tiny", *data)
    last = said.splitlines()[-1]
    assert (code, last[:7]) == (2, "error: ")
    assert "aaaa" in last
