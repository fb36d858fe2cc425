"""README and docs cannot drift: commands run, flags exist, Python runs, the tree is what is there, links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawing import WORDS, draw_line, write_lines
from page_files import draw_page, page_xml
from streamed import write_parquet

CLONE = Path(__file__).parents[1]
README = (CLONE / "README.md").read_text(encoding="utf-8")
DOCS = {page.name: page.read_text(encoding="utf-8") for page in sorted((CLONE / "docs").glob("*.md"))}
PAGES = (
    "quickstart",
    "training",
    "judging",
    "recipes",
    "troubleshooting",
    "formats",
    "formats-pages",
    "streaming",
    "reading",
)
Run = Callable[..., tuple[int, str, str]]

# Commands that are not run here, by how they begin -> why.
SKIPPED = {
    "git clone": "needs the network",
    "cd glm-ocr-finetune": "follows git clone",
    "pip install": "needs the network; .ci/run installs",
    "make": "make demo takes a minute, make test is this; that the targets exist is tested below",
    "torchrun": "two processes take half a minute; invariant/test_ranks.py and tests/test_ranks.py start them",
    "python finetune.py --dataset_name owner/name": "needs the network",
    "glm-ocr-finetune doctor": "two processes and a minute; doctor/test_doctor.py runs it",
    "glm-ocr-finetune mtp": "needs a model that reads; tests/test_mtp.py runs it",
    "glm-ocr-finetune demo": "a minute; its parts are tested one by one, and the notebook trains on its lines",
    "python inference.py --model MODEL --image SCANS --output_dir READINGS --server": "needs a server",
    "glm-ocr-finetune evaluate --model MODEL --dataset_name DATA --data_format": "the data here is of another format",
}
PROGRAMS = {"python finetune.py": ["train"], "python inference.py": ["infer"], "glm-ocr-finetune": []}
# So that a command takes a second: a small model, a single step, short answers, no tracker and no progress bar.
SHORT = {
    "train": ["--model_name", "tiny", "--max_steps", "1", "--disable_tqdm", "True"],
    "infer": ["--max_new_tokens", "4"],
    "evaluate": ["--max_new_tokens", "4"],
    "export": ["--prove", "0"],
    "report": [],
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> Iterator[str]:
    """Every command of the README and of ``PAGES``: those of the tables "I have, I run", then those of shell blocks."""
    pages = [DOCS[f"{name}.md"] for name in PAGES]
    tables = [README.split("## What to run")[1].split("\n## ")[0], DOCS["quickstart.md"].split("## I have, I run")[1]]
    for row in re.findall(r"^\|[^|]*\| (.*) \|$", "\n".join(tables), re.MULTILINE):
        spans = re.findall(r"`([^`]+)`", row)
        yield from (span for span in spans if not span.startswith("--"))
        if "the same command with" in row or ", or `--plan" in row:
            yield f"python finetune.py --dataset_name FOLDER {spans[-1]}"
    for block in (block for text in (README, *pages) for block in blocks("bash", text)):
        lines = (line.split(" #")[0] for line in block.replace("\\\n", " ").splitlines())
        yield from (" ".join(line.split()) for line in lines if line.strip() and not line.startswith("#"))


def is_skipped(command: str) -> bool:
    return any(command.startswith(start) for start in SKIPPED)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A working folder with what the placeholders of the README stand for."""
    write_lines(tmp_path / "lines", "train", WORDS[:8])
    (tmp_path / "path" / "to").mkdir(parents=True)
    draw_line("amber").save(tmp_path / "path" / "to" / "image.png")
    chats = [
        {"messages": [{"role": "user", "content": "<image>Text Recognition:"}, {"role": "assistant", "content": word}],
         "images": [f"train-{index}.png"]} for index, word in enumerate(WORDS[:8])
    ]  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(chats), encoding="utf-8")
    rows = [{"image": f"images/train-{index}.png", "prediction": word} for index, word in enumerate(WORDS[:8])]
    (tmp_path / "FILE.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in ("p", "q"):
        draw_page(tmp_path / "pages" / f"{name}.png", (300 + len(WORDS), 200) if name == "q" else (300, 200))
        (tmp_path / "pages" / f"{name}.xml").write_text(page_xml(image=f"{name}.png"), encoding="utf-8")
    draw_page(tmp_path / "layout" / "p.png", (300, 200))
    (tmp_path / "layout" / "p.xml").write_text(page_xml(image="p.png"), encoding="utf-8")
    write_parquet(tmp_path / "shards", 36)
    shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "pages")
    monkeypatch.chdir(tmp_path)
    data = dict.fromkeys(("your-hf-dataset", "FOLDER", "FILE_OR_FOLDER", "FOLDER_OR_ZIP", "DATA"), "lines")
    return data | {
        "FOLDER_OR_ZIP": "pages",
        "SHARDS": "shards",
        "LINES:0.7": "lines:0.7",
        "TABLES:0.3": "lines/train.jsonl:0.3",
        "SCANS": "lines/images",
        "IMAGES": "lines/images",
        "PAGE_XML_FOLDER": "layout",
        "IMAGE_OR_FOLDER": "lines/images",
        "MODEL": "./glm-ocr-finetuned",
        "zai-org/GLM-OCR": "tiny",
    }


def as_typed(command: str, places: dict[str, str], outputs: dict[str, str]) -> list[str]:
    """The words of the command for the package's own ``main``, placeholders filled in, made short.

    Runs that name no output folder get one each, kept in ``outputs``; a resumed one gets that of the run it resumes.
    """
    start = next(program for program in PROGRAMS if command.startswith(program))
    words = [*PROGRAMS[start], *(places.get(word, word) for word in shlex.split(command.removeprefix(start)))]
    model = ["--model", "tiny"] if words[0] == "infer" and "--model" not in words else []
    if words[0] == "train" and "--report_to" not in words:
        words += ["--report_to", "none"]
    if words[0] == "train" and "--output_dir" not in words:
        name = outputs.setdefault(command.split(" --resume")[0], f"out-{len(outputs)}")
        words += ["--output_dir", name]
    if "READINGS" in words:  # each command reads something else, so each has its own folder
        words[words.index("READINGS")] = outputs.setdefault(command, f"READINGS-{len(outputs)}")
    return [*words, *model, *SHORT[words[0]]]


def test_every_command_runs_as_it_is_written(desk: dict[str, str], run: Run) -> None:
    """In their order: later ones read with the model that an earlier one has trained."""
    typed = [command for command in dict.fromkeys(commands()) if not is_skipped(command)]
    assert len(typed) >= 30
    outputs: dict[str, str] = {}
    ordered = sorted(typed, key=lambda command: "--model" in command or "--run" in command)
    for command in ordered:
        code, _, err = run(*as_typed(command, desk, outputs))
        assert code == 0, f"{command}\n{err[-2000:]}"
    assert Path("glm-ocr-lora/adapter_config.json").is_file()
    assert Path("glm-ocr-finetuned/report.html").is_file()


def test_no_reason_to_skip_is_left_over() -> None:
    for start in SKIPPED:
        assert any(command.startswith(start) for command in commands()), start


OTHERS = {  # flags of other programs, as the pages name them; what has a hyphen inside is never ours
    "--jinja", "--help", "--nproc_per_node", "--nnodes", "--rdzv_backend", "--rdzv_endpoint",
    "--dtype", "--reasoning",
}  # fmt: skip


def flags_of(command: str) -> set[str]:
    """The flags of a command of ours, by its reference page; those of ``SFTConfig`` for train."""
    (section,) = re.findall(rf"^## {re.escape(command)}\n(.*?)(?=^## |\Z)", DOCS["cli.md"], re.MULTILINE | re.DOTALL)
    others = DOCS["sft-arguments.md"] if command.endswith(" train") else ""
    return set(re.findall(r"--[a-z0-9_]+", section + others))


# Written from the parsers, dated, or about the flags of benchmarks/gpu.
LEFT_OUT = {"cli.md", "sft-arguments.md", "log.md", "gpu.md"}


@pytest.mark.parametrize("name", ["README.md", *sorted(DOCS.keys() - LEFT_OUT)])
def test_every_flag_that_is_named_exists(name: str) -> None:
    text = README if name == "README.md" else DOCS[name]
    starts = {"python finetune.py": "train", "torchrun": "train", "python inference.py": "infer"}
    names = re.findall(r"^## glm-ocr-finetune (\w+)$", DOCS["cli.md"], re.MULTILINE)
    starts |= {f"glm-ocr-finetune {one}": one for one in names}
    known = set.union(*(flags_of(f"glm-ocr-finetune {one}") for one in names)) | OTHERS
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    typed = [line for block in blocks("bash", text) for line in block.replace("\\\n", " ").splitlines()]
    for line in [*spans, *typed]:
        own = [flags_of(f"glm-ocr-finetune {word}") for start, word in starts.items() if line.startswith(start)]
        flags = set(re.findall(r"(?<![\w-])--[a-z0-9_]+(?![\w-])", line))
        allowed = own[0] | OTHERS if own else known
        if own or not line.startswith(
            ("python", "vllm", "pip", "hf ", "cmake", "sh ", "llama", "accelerate", "ollama")
        ):
            assert flags <= allowed, (name, line, flags - allowed)


def test_the_first_two_screens() -> None:
    """What comes before the reference: the picture, the demo, what to run, three promises, links."""
    screens = README.split("## Install")[0]
    titles = re.findall(r"^## (.*)$", screens, re.MULTILINE)
    assert titles == ["What to run", "Three promises", "Documentation"]
    assert len(screens.splitlines()) <= 90
    for page in DOCS.keys() - {"index.md", "api.md"}:
        assert f"docs/{page}" in README, page


def test_every_page_of_the_docs_is_in_the_navigation() -> None:
    navigation = (CLONE / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    assert set(re.findall(r"[\w-]+\.md", navigation)) == DOCS.keys()


def test_commands_that_are_not_run_name_what_is_there() -> None:
    makefile = (CLONE / "Makefile").read_text(encoding="utf-8")
    contributing = (CLONE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(
        re.findall(
            r"`?\bmake ([a-z-]+)\b", "\n".join(re.findall(r"`[^`]*`|^make .*$", README + contributing, re.MULTILINE))
        )
    )
    assert targets >= {"demo", "test", "check", "setup"}
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()
    for module in re.findall(r"python -m (benchmarks[\w.]+)", README + "".join(DOCS.values())):
        assert importlib.util.find_spec(module), module
    for file in re.findall(r"[\w./-]+\.(?:py|sh|md|cff)\b", README + contributing):
        if "/" in file and not file.startswith(("http", "//")):
            homes = (CLONE, CLONE / "tests", CLONE / "glm_ocr_finetune")
            assert (
                any((home / file).exists() for home in homes) or file.isupper() or "FOLDER" in file or "FORMAT" in file
            ), file


def test_its_python_runs(desk: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1.png", "2.png", "line.png"):
        draw_line("amber").save(name)
    (program,) = blocks("python")
    short = 'output_dir="run", model="tiny", max_steps=1, eval_strategy="no", report_to="none", disable_tqdm=True'
    exec(program.replace('output_dir="run"', short), {})
    assert capsys.readouterr().out.startswith("None\n")  # nothing was held out
    assert Path("run/model.safetensors").is_file()


def test_the_parts_for_a_loop_of_ones_own_run(desk: dict[str, str]) -> None:
    from glm_ocr_finetune.readers import load_rows

    program = blocks("python", DOCS["python.md"])[-1]
    rows: Any = load_rows("lines", split="train")
    exec(
        program.replace('output_dir="out"', 'output_dir="out", max_steps=1, report_to="none", disable_tqdm=True'),
        {"rows": rows},
    )
    assert Path("out/checkpoint-1/adapter_config.json").is_file()


def tree() -> list[tuple[int, list[str]]]:
    """Indentation and names of each entry of "Where things live"; a line further in goes on with the one above."""
    block = README.split("## Where things live")[1].split("```")[1]
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith("   ")]
    return [(len(line) - len(line.lstrip()), re.split(r"\s{2,}", line.strip())[0].split(", ")) for line in lines]


def test_the_tree_is_what_is_there() -> None:
    listed = {name.rstrip("/") for indent, names in tree() if indent for name in names}
    inside = {path.stem if path.suffix == ".py" else path.name for path in (CLONE / "glm_ocr_finetune").iterdir()}
    assert listed == inside - {"__pycache__", "py.typed"}
    top = {name.rstrip("/") for indent, names in tree() if not indent for name in names}
    tracked = subprocess.run(["git", "ls-files"], cwd=CLONE, capture_output=True, text=True, check=True).stdout
    folders = {line.split("/")[0] for line in tracked.splitlines() if "/" in line and not line.startswith(".")}
    assert top == folders | {"finetune.py", "inference.py"}


def test_the_tree_stands_in_the_order_of_imports() -> None:
    from test_architecture import DEPTH

    listed = [[name.rstrip("/") for name in names] for indent, names in tree() if indent]
    depths = [[DEPTH[name] for name in names if name in DEPTH] for names in listed if names != ["assets"]]
    for above, below in zip(depths, depths[1:], strict=False):
        assert max(above) <= min(below), (above, below)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (CLONE / name).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)]+)\)", prose)
    assert len(links) > 5
    for link in links:
        file, _, anchor = link.partition("#")
        if not file:
            assert anchor in anchors, link
        elif not file.startswith("http"):
            assert (CLONE / file).is_file(), link


def test_citation_and_licence_say_what_the_package_says() -> None:
    import yaml

    citation = yaml.safe_load((CLONE / "CITATION.cff").read_text(encoding="utf-8"))
    project = (CLONE / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    assert citation["repository-code"] + ".git" in README
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    licence = (CLONE / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
