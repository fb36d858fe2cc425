"""The commands as people type them, on the tiny model: what comes out, what is written, what is refused."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from drawing import draw_line
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--report_to", "none", "--disable_tqdm", "True", "--max_steps", 2)
STEPS = ("--eval_steps", 1, "--save_steps", 1, "--load_best_model_at_end", "False")


def write_rows(folder: Path, rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def tuned(line_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Output folders of a full, a LoRA and a 4-bit LoRA run."""
    from glm_ocr_finetune.cli import main

    folder = tmp_path_factory.mktemp("tuned")
    modes = {"full": [], "lora": ["--use_lora", "True"], "4bit": ["--use_lora", "True", "--load_in_4bit", "True"]}
    for mode, flags in modes.items():
        words = ["train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--output_dir", folder / mode]
        assert main([str(word) for word in [*words, *flags, *QUICK, *STEPS]]) == 0
    return {mode: folder / mode for mode in modes}


@pytest.mark.parametrize("mode", ["full", "lora", "4bit"])
def test_a_run_leaves_what_servers_need(tuned: dict[str, Path], mode: str) -> None:
    folder = tuned[mode]
    names = {path.name for path in folder.iterdir()}
    weights = {"config.json", "model.safetensors"} if mode == "full" else {"adapter_config.json"}
    assert weights | {"tokenizer.json", "chat_template.jinja", "processor_config.json", "loss.svg"} <= names
    assert {"preprocessor_config.json", "generation_config.json", "checkpoint-1", "checkpoint-2"} <= names
    generation = json.loads((folder / "generation_config.json").read_text())
    assert len(generation["eos_token_id"]) == 2
    sidecar = json.loads((folder / "glm_ocr_finetune.json").read_text())
    assert (sidecar["base_model"], sidecar["prompt_format"]) == ("tiny-random", "serve")
    assert "transformers" in sidecar["versions"]
    assert "<svg" in (folder / "loss.svg").read_text()


def test_full_checkpoint_is_bf16_and_says_so(tuned: dict[str, Path]) -> None:
    from safetensors.torch import load_file

    config = json.loads((tuned["full"] / "config.json").read_text())
    assert config["dtype"] == config["text_config"]["dtype"] == "bfloat16"
    assert "use_cache" not in config
    assert {value.dtype for value in load_file(tuned["full"] / "model.safetensors").values()} == {torch.bfloat16}
    on_the_way = load_file(tuned["full"] / "checkpoint-1" / "model.safetensors")
    assert on_the_way["lm_head.weight"].dtype == torch.float32


def test_plain_transformers_reads_the_same_text(tuned: dict[str, Path], line_folder: Path, run: Run) -> None:
    """No code of this package between the saved folder and the answer."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(tuned["full"], dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tuned["full"])
    image = Image.open(line_folder / "images" / "0.png").convert("RGB")
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Text Recognition:"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[image], text=[text], return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    expected = processor.decode(output, skip_special_tokens=True)
    image_file = line_folder / "images" / "0.png"
    code, out, _ = run("infer", "--model", tuned["full"], "--image", image_file, "--max_new_tokens", 12)
    assert (code, out) == (0, expected + "\n")


def test_plain_peft_and_plain_transformers_load_the_adapter(tuned: dict[str, Path], tiny_random: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    def adapters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        found = {name.split("model.language_model.")[-1]: value for name, value in model.named_parameters()}
        return {name: value for name, value in found.items() if ".lora_B." in name}

    base = AutoModelForImageTextToText.from_pretrained(tiny_random, dtype=torch.float32)
    by_peft = adapters(PeftModel.from_pretrained(base, tuned["lora"]))
    by_transformers = adapters(AutoModelForImageTextToText.from_pretrained(tuned["lora"], dtype=torch.float32))
    assert len(by_peft) == 24
    assert all(bool(value.any()) for value in by_peft.values())
    for name, value in by_transformers.items():
        torch.testing.assert_close(value, by_peft[name])


def test_adapter_is_found_by_itself_or_named(tuned: dict[str, Path], line_folder: Path, run: Run) -> None:
    image = line_folder / "images" / "0.png"
    found = run("infer", "--model", tuned["lora"], "--image", image, "--max_new_tokens", 8)
    named = run("infer", "--model", "tiny-random", "--adapter", tuned["lora"], "--image", image, "--max_new_tokens", 8)
    assert found[:2] == named[:2]
    assert found[0] == 0


def test_a_folder_is_read_in_the_order_of_names(tuned: dict[str, Path], line_folder: Path, run: Run) -> None:
    code, out, err = run("infer", "--model", tuned["full"], "--image", line_folder / "images", "--max_new_tokens", 4)
    headers = [line for line in out.splitlines() if line.startswith("==>")]
    expected = [f"==> {path} <==" for path in sorted((line_folder / "images").iterdir())]
    assert code == 0
    assert headers == expected


def test_batched_reading_equals_one_by_one(tuned: dict[str, Path], line_folder: Path, run: Run) -> None:
    words = ("infer", "--model", tuned["full"], "--image", line_folder / "images", "--max_new_tokens", 6)
    assert run(*words, "--batch_size", 5)[1] == run(*words, "--batch_size", 1)[1]


def test_dry_run_shows_everything_and_writes_a_contact_sheet_only(
    line_folder: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--dry_run", "True")
    assert code == 0
    assert "learning_rate = 0.001 (the tiny model needs a hundred times the rate of GLM-OCR)" in err
    assert f"dataset_name = {line_folder} (command line)" in err
    assert "language model" in out
    assert "<|image|> x 10" in out
    assert "│<|user|>│" in out
    assert "images made smaller" not in out
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["samples.svg"]


def test_prompt_format_travels_with_the_checkpoint(line_folder: Path, tmp_path: Path, run: Run) -> None:
    words = ("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--output_dir", tmp_path, *QUICK)
    assert run(*words, "--prompt_format", "no_think", "--max_pixels", 7840)[0] == 0
    assert json.loads((tmp_path / "glm_ocr_finetune.json").read_text())["prompt_format"] == "no_think"
    size = json.loads((tmp_path / "processor_config.json").read_text())["image_processor"]["size"]
    assert size["longest_edge"] == 2 * 7840
    code, out, err = run("train", "--model_name", tmp_path, "--dataset_name", line_folder, "--dry_run", "True")
    assert "prompt_format = no_think (what the checkpoint was tuned with)" in err
    assert "/nothink" in out


def test_config_file_fills_in_and_the_command_line_wins(line_folder: Path, tmp_path: Path, run: Run) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("use_lora: true\nlora_rank: 4\nlearning_rate: 3e-4\nlogging_steps: 7\n")
    words = ("train", "--config", config, "--model_name", "tiny-random", "--dataset_name", line_folder)
    code, out, err = run(*words, "--lora_rank", 2, "--dry_run", "True")
    assert code == 0
    assert "lora_rank = 2 (command line)" in err
    assert "learning_rate = 0.0003 (configuration file)" in err
    assert "logging_steps = 7 (configuration file)" in err


def test_bad_rows_are_set_aside_and_listed(line_folder: Path, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    good = draw_line("good")
    for index in range(4):
        draw_line(f"good{index}").save(folder / f"good{index}.png")
    good.convert("CMYK").save(folder / "cmyk.jpg")
    good.convert("P").save(folder / "palette.png", transparency=0)
    good.convert("I;16").save(folder / "deep.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    good.rotate(90, expand=True).save(folder / "turned.jpg", exif=turned)
    good.save(folder / "cut.png")
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:-200])
    (folder / "empty.png").write_bytes(b"")
    Image.new("L", (2000, 1), 255).save(folder / "thin.png")
    huge = bytearray((folder / "good0.png").read_bytes())
    huge[16:24] = (30000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (folder / "huge.png").write_bytes(huge)
    sound = ["good0.png", "good1.png", "good2.png", "good3.png", "cmyk.jpg", "palette.png", "deep.png", "turned.jpg"]
    bad = ["cut.png", "empty.png", "thin.png", "huge.png", "absent.png"]
    rows: list[dict[str, Any]] = [{"image": name, "text": "good"} for name in sound + bad]
    rows += [
        {"image": "good0.png", "text": " "},
        {"image": "good0.png", "text": "a\0b"},
        {"image": "good0.png", "text": "\ud800"},
        {"image": "good0.png", "text": "long" * 600},
    ]
    write_rows(folder, rows)
    output = tmp_path / "out"
    words = ("train", "--model_name", "tiny-random", "--dataset_name", folder, "--output_dir", output, *QUICK)
    code, _, err = run(*words, "--eval_split_size", 0, "--max_length", 2048)
    assert code == 0, err
    assert "samples: 8 to train on" in err
    aside = [json.loads(line) for line in (output / "set_aside.jsonl").read_text().splitlines()]
    reasons = {row["source"].split(":")[-1]: row["reason"] for row in aside}
    expected = ["unreadable_image", "empty_file", "image_too_thin", "image_too_large", "missing_image"]
    expected += ["empty_label", "invalid_text", "invalid_text", "too_long"]
    assert reasons == {str(line): reason for line, reason in enumerate(expected, start=9)}
    assert f"listed in {output / 'set_aside.jsonl'}" in err


BAD_COMMANDS = [
    (["--dataset_name", "no/where/at/all"], "no/where/at/all"),
    (["--dataset_name", "someone/not-on-this-machine"], "someone/not-on-this-machine"),
    ([], "--dataset_name is required"),
    (["--dataset_name", "{lines}", "--text_column", "txet"], "Did you mean 'text'"),
    (["--dataset_name", "{lines}", "--image_column", "picture"], "picture"),
    (["--dataset_name", "{lines}", "--train_split", "tarin"], "tarin"),
    (["--dataset_name", "{lines}", "--lora_rank", "0"], "--lora_rank is 0"),
    (["--dataset_name", "{lines}", "--eval_split_size", "1.5"], "--eval_split_size is 1.5"),
    (["--dataset_name", "{lines}", "--max_samples", "0"], "--max_samples is 0"),
    (["--dataset_name", "{lines}", "--output_dir", "{file}"], "cannot be written"),
    (["--dataset_name", "{lines}", "--load_in_4bit", "True"], "needs --use_lora True"),
    (["--dataset_name", "{lines}", "--prompt_format", "think"], "--prompt_format"),
    (["--dataset_name", "{lines}", "--learning_rat", "1"], "did you mean --learning_rate"),
    (["--dataset_name", "{lines}", "--max_steps", "many"], "--max_steps: 'many' is not a whole number"),
    (["--dataset_name", "{lines}", "--max_length", "20"], "can be used: 12 x too_long"),
    (["--dataset_name", "{lines}", "--resume_from_checkpoint", "True"], "no checkpoint there"),
    (["--dataset_name", "{lines}", "--warmup_ratio", "1.5"], "--warmup_ratio is 1.5"),
    (["--dataset_name", "{lines}", "--warmup_ratio", "0.1", "--warmup_steps", "5"], "contradict each other"),
    (
        ["--dataset_name", "{lines}", "--eval_steps", "3", "--save_steps", "4", "--load_best_model_at_end", "True"],
        "no mul",
    ),
    (["--dataset_name", "{lines}", "--packing", "True"], "--packing"),
    (["--dataset_name", "{lines}", "--use_liger_kernel", "True"], "--use_liger_kernel True is not supported"),
    (["--dataset_name", "{lines}", "--lora_target", "x", "--use_lora", "True"], "q_proj"),
    (["--dataset_name", "{lines}", "--config", "nowhere.yaml"], "--config nowhere.yaml does not exist"),
    (["--dataset_name", "{empty}"], "12 x empty_label"),
    (["--dataset_name", "{columns}"], "foo"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_COMMANDS, ids=[message for _, message in BAD_COMMANDS])
def test_what_cannot_work_ends_in_one_clear_line(
    line_folder: Path, tmp_path: Path, run: Run, flags: list[str], message: str
) -> None:
    (tmp_path / "file").write_text("")
    rows = [{"image": str(line_folder / "images" / f"{i}.png"), "text": ""} for i in range(12)]
    empty = write_rows(tmp_path / "empty", rows)
    columns = write_rows(tmp_path / "columns", [{"foo": 1, "bar": "x"}])
    places = {"lines": line_folder, "file": tmp_path / "file" / "out", "empty": empty, "columns": columns}
    words = [flag.format(**places) for flag in flags]
    if "--output_dir" not in words:
        words += ["--output_dir", str(tmp_path / "out")]
    if "{empty}" in flags:
        words += ["--image_folder", str(line_folder)]
    code, out, err = run("train", "--model_name", "tiny-random", *words)
    assert code == 2
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image", "nowhere.png"], "--image nowhere.png does not exist"),
        ([], "--image is required"),
        (["--image", "{images}", "--adapter", "{images}"], "holds no adapter_config.json"),
        (["--image", "{images}", "--model", "{images}"], "config.json is missing"),
        (["--image", "{images}", "--imag", "x"], "unknown argument --imag; did you mean --image?"),
        (["--image", "{images}", "--batch_size", "0"], "--batch_size is 0; it must be at least 1"),
    ],
)
def test_infer_refuses_in_one_line(line_folder: Path, run: Run, words: list[str], message: str) -> None:
    filled = [word.format(images=line_folder / "images") for word in words]
    code, out, err = run("infer", "--model", "tiny-random", *filled)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_an_unreadable_image_does_not_stop_the_others(
    tuned: dict[str, Path], line_folder: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    image = line_folder / "images" / "0.png"
    words = ("infer", "--model", tuned["full"], "--image", tmp_path / "empty.png", image, "--max_new_tokens", 4)
    code, out, err = run(*words)
    assert code == 1
    assert f"==> {image} <==" in out
    assert "empty.png" in err


def test_unknown_command(run: Run) -> None:
    code, _, err = run("tarin")
    assert code == 2
    assert "unknown command 'tarin'" in err


def test_explicit_learning_rate_is_kept_with_lora(line_folder: Path, run: Run) -> None:
    words = ("train", "--model_name", "tiny-random", "--dataset_name", line_folder, "--use_lora", "True")
    _, _, err = run(*words, "--dry_run", "True", "--learning_rate", "1e-5")
    assert "learning_rate = 1e-05 (command line)" in err
    _, _, err = run(*words, "--dry_run", "True")
    assert "learning_rate = 0.003 (the tiny model needs thirty times the rate of GLM-OCR)" in err


def test_official_sharegpt_layout_trains(shared: Path, tmp_path: Path, run: Run) -> None:
    data = shared / "data" / "chemical-cosyn-glmocr" / "sharegpt.json"
    words = (
        "train",
        "--model_name",
        "tiny-random",
        "--dataset_name",
        data,
        "--output_dir",
        tmp_path,
        "--dry_run",
        "True",
    )
    code, out, _ = run(*words)
    assert code == 0
    assert "9 samples to train on, 1 to evaluate on" in out
    assert "C│o│d│e│ │G│e│n│e│r│a│t│i│o│n│:" in out
