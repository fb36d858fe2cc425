"""llama.cpp's converter is run where it is, and what to type is said where it is not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.exporting.gguf import VARIABLE, convert, find_converter, to_type

CONVERTER = """
import sys
arguments = sys.argv[1:]
print("log", file=sys.stderr)
if "broken" in arguments[0]:
    sys.exit("Model is not supported")
open(arguments[arguments.index("--outfile") + 1], "w").write(" ".join(arguments))
"""


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(CONVERTER)
    return folder


def test_the_folder_is_given_or_in_the_environment(llama_cpp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find_converter(None) is None
    assert find_converter(str(llama_cpp)) == llama_cpp / "convert_hf_to_gguf.py"
    monkeypatch.setenv(VARIABLE, str(llama_cpp))
    assert find_converter(None) == llama_cpp / "convert_hf_to_gguf.py"


def test_a_folder_without_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"--llama_cpp .* holds no convert_hf_to_gguf.py"):
        find_converter(str(tmp_path))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=r"\$LLAMA_CPP .* holds no convert_hf_to_gguf.py"):
        find_converter(None)


def test_text_and_vision_are_converted(llama_cpp: Path, tmp_path: Path) -> None:
    directory = tmp_path / "tuned"
    directory.mkdir()
    convert(llama_cpp / "convert_hf_to_gguf.py", directory)
    text, image = ((directory / f"tuned-{name}.gguf").read_text() for name in ("bf16", "mmproj-bf16"))
    assert text.startswith(f"{directory} --outtype bf16")
    assert "--mmproj" in image
    assert "--mmproj" not in text


def test_what_the_converter_says_is_quoted(llama_cpp: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    with pytest.raises(UserError, match="convert_hf_to_gguf.py failed: Model is not supported"):
        convert(llama_cpp / "convert_hf_to_gguf.py", tmp_path / "broken")


def test_what_to_type_names_both_files() -> None:
    first, second = map(shlex.split, to_type(Path("/models/tuned")).splitlines())
    assert first[0] == "python"
    assert "/models/tuned/tuned-bf16.gguf" in first
    assert {"--mmproj", "/models/tuned/tuned-mmproj-bf16.gguf"} <= set(second)
