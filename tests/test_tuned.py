"""Five lines of Python: a real training of the tiny model, its scores, and what it reads; and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from drawing import draw_line
from PIL import Image

import glm_ocr_finetune
from glm_ocr_finetune import Tuned, TunedScores, finetune, load
from glm_ocr_finetune.errors import UserError

CLONE = Path(__file__).parents[1]
DEMO = CLONE / "glm_ocr_finetune" / "assets" / "demo"
SHORT: dict[str, Any] = {
    "model": "tiny",
    "report_to": "none",
    "gradient_accumulation_steps": 1,
    "per_device_train_batch_size": 8,
}


def pairs(split: str, count: int) -> list[tuple[Path, str]]:
    """Lines of the demo: handwriting that the tiny model cannot read."""
    lines = (DEMO / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    return [(DEMO / row["image"], row["text"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    held_out = [(Image.open(image), text) for image, text in pairs("test", 12)]
    out = tmp_path_factory.mktemp("tuned") / "run"
    return finetune(pairs("train", 64), evaluation=held_out, output_dir=out, max_steps=8, **SHORT)


def test_the_scores_are_those_of_the_run(tuned: Tuned) -> None:
    scores = tuned.scores
    assert scores is not None
    summary = json.loads((Path(tuned.path) / "summary.json").read_text(encoding="utf-8"))
    assert (scores.cer, scores.wer) == (summary["tuned"]["corpus_cer"], summary["tuned"]["corpus_wer"])
    assert scores.count == 12
    assert scores.base["corpus_cer"] is not None
    assert scores.cer is not None
    assert scores.cer < 0.7 < scores.base["corpus_cer"]
    interval = scores.intervals["corpus_cer"]
    assert interval is not None
    assert interval[0] < scores.cer - scores.base["corpus_cer"] < interval[1] < 0
    assert scores.verdict == "better"


def test_the_scores_in_words(tuned: Tuned) -> None:
    shown = str(tuned.scores).splitlines()
    figure = r"[\d.]+ % \(base [\d.]+ %; difference with 95 % confidence -[\d.]+ to [+-][\d.]+\)"
    assert re.fullmatch(f"CER {figure}", shown[0])
    assert re.fullmatch(f"WER {figure}", shown[1])
    assert shown[2].startswith("The tuned model reads better than the base")
    assert repr(tuned.scores) == str(tuned.scores)
    assert "scores" not in repr(tuned)


def test_it_reads_paths_and_pictures_as_the_run_did(tuned: Tuned) -> None:
    lines = (Path(tuned.path) / "evaluation" / "tuned.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [row["prediction"] for row in map(json.loads, lines)]
    images = [image for image, _ in pairs("test", 12)]
    assert tuned.read([images[0], str(images[1]), Image.open(images[2])]) == expected[:3]
    assert tuned.read(images[3]) == expected[3]
    assert tuned.read([]) == []


def test_it_is_loaded_again(tuned: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    again = load(tuned.path)
    assert again.scores == tuned.scores
    image = pairs("test", 1)[0][0]
    assert again.read(str(image)) == tuned.read(image)
    assert load("tiny").scores is None
    assert load("tiny").read(draw_line("amber")) == "amber"


def test_the_command_reads_the_same(tuned: Tuned, run: Any) -> None:
    image = pairs("test", 1)[0][0]
    code, out, _ = run("infer", "--model", tuned.path, "--image", image)
    assert (code, out) == (0, tuned.read(image) + "\n")


def test_an_image_that_cannot_be_read_is_named(tuned: Tuned, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png"):
        tuned.read([pairs("test", 1)[0][0], tmp_path / "broken.png"])
    with pytest.raises(UserError, match=r"nowhere\.png"):
        tuned.read(tmp_path / "nowhere.png")


def test_a_lora_adapter_of_a_data_set_by_name(line_folder: Path, tmp_path: Path) -> None:
    done = finetune(line_folder, output_dir=tmp_path / "run", use_lora=True, max_steps=1, eval_strategy="no", **SHORT)
    assert done.scores is None
    assert (tmp_path / "run" / "adapter_config.json").is_file()
    assert done.read(draw_line("amber")) == "amber"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rat": 1e-4}, r"^unknown argument learning_rat; did you mean .*learning_rate"),
        ({"learning_rate": -1}, "--learning_rate is -1"),
        ({"lora_rank": 4}, "--lora_rank needs --use_lora True"),
        ({"use_lora": "perhaps"}, "'perhaps' is neither True nor False"),
        ({"dataset_name": "x"}, r"takes no dataset_name"),
        ({"dry_run": True}, "takes no dry_run; use glm-ocr-finetune train"),
        ({"evaluation": []}, "there are no validation samples"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        finetune([(draw_line("one"), "one")], model="tiny", output_dir=tmp_path, **arguments)


def test_an_evaluation_list_beside_a_data_set_is_refused(line_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evaluation goes with a list of samples"):
        finetune(line_folder, model="tiny", output_dir=tmp_path, evaluation=[(draw_line("one"), "one")])


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="summary.json is damaged"):
        load(tmp_path)


def test_the_given_names_and_the_new_ones_are_there() -> None:
    given = {"ModelArguments", "DataArguments", "TrainingArguments", "load_model", "format_for_vlm", "create_trainer"}
    assert given | {"finetune", "load", "Tuned", "TunedScores", "UserError"} == set(glm_ocr_finetune.__all__)
    for name in glm_ocr_finetune.__all__:
        assert getattr(glm_ocr_finetune, name).__name__ == name


def test_importing_it_imports_nothing_heavy() -> None:
    program = (
        "import sys; from glm_ocr_finetune import finetune, load\n"
        "heavy = {'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PAGE = (CLONE / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_programs_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines").mkdir()
    for name in ("lines/1.png", "lines/2.png", "line.png", "page-1.png", "page-2.png"):
        draw_line(f"amber {len(name)}").save(tmp_path / name)
    first, second, parts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "create_trainer" in parts  # test_readme.py runs it
    changed = first.replace("zai-org/GLM-OCR", "tiny").replace(
        'output_dir="run"', 'output_dir="run", max_steps=1, report_to="none", evaluation=samples[:1]'
    )
    found: dict[str, Any] = {}
    exec(changed + second, found)
    assert found["tuned"].scores.count == 1
    assert [len(text) > 0 for text in found["texts"]] == [True, True]


def test_what_the_tables_of_the_page_name_is_there() -> None:
    for kind, names in ((Tuned, ("read", "scores", "path")), (TunedScores, ("cer", "wer", "base", "tuned"))):
        known = {*kind.__dataclass_fields__, *vars(kind)}
        assert set(names) <= known
    sections = dict(re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
    for kind in (Tuned, TunedScores):
        rows = re.findall(r"^\| (`.*?) \|", sections[kind.__name__], re.MULTILINE)
        for name in re.findall(r"`(\w+)", " ".join(rows)):
            assert name in {*kind.__dataclass_fields__, *vars(kind)}, name
