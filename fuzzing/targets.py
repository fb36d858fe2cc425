"""What is fuzzed. A target takes bytes, and raises only for what must not happen.

What may happen: rows that can be used, rows with a known problem, or a ``UserError`` of one line. Anything else is a
fault: another exception, a message of several lines, a row that is neither, more than seconds for a small file.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from glm_ocr_finetune.errors import UserError

from .documents import DOCUMENTS
from .drawing import Drawer, changed

TEXT_FILES = (
    *("rows.csv", "rows.tsv", "rows.jsonl", "rows.json", "metadata.csv", "metadata.jsonl", "manifest.jsonl"),
    *("train.txt", "Label.txt", "rec_gt_train.txt", "lines.txt", "images/0.gt.txt", "images/0.txt", "images/0.md"),
    *("images/0.json", "rows.parquet", "rows.arrow", "rows.xlsx", "rows.zip", "rows.tar", "pages.pdf", "README.md"),
)
CHAT_KEYS = (
    *("messages", "conversations", "role", "content", "from", "value", "images", "image", "text", "type", "query"),
    *("response", "system", "history", "prompt", "completion", "image_url", "url", "bytes", "path", "tools", "label"),
)
PREDICTION_KEYS = (
    *("prediction", "text", "id", "image", "stopped", "num_tokens", "prompt", "source", "document", "region"),
)


class Fault(Exception):
    """Something that must not happen."""


@cache
def workplace(images: tuple[str, ...] = ("images/0.png", "images/1.png")) -> Path:
    """A folder in memory with images of the size that the page files tell, and no other file."""
    from PIL import Image

    folder = Path(tempfile.mkdtemp(prefix="fuzzing-", dir=memory()))
    (folder / "images").mkdir()
    for name in images:
        Image.new("L", (300, 200), 200).save(folder / name)
    return folder


def workplace_of_pages() -> Path:
    """A folder for page files, with the images that go by their names and the page that METS names."""
    folder = workplace(("images/0.png", "abbyy.png", "page.png"))
    (folder / "images" / "page.xml").write_text(DOCUMENTS["page.xml"].replace("images/", ""), encoding="utf-8")
    return folder


def memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def file_of(name: str, content: bytes, folder: Path | None = None) -> Iterator[Path]:
    """A file of a workplace while it is looked at."""
    file = (folder or workplace()) / name
    file.write_bytes(content)
    try:
        yield file
    finally:
        file.unlink()


@contextmanager
def one_line() -> Iterator[None]:
    """What the user is told must be one line that can be printed."""
    try:
        yield
    except UserError as error:
        if not str(error).strip() or "\n" in str(error):
            raise Fault(f"a message that is not one line: {str(error)!r}") from error
        str(error).encode("utf-8", "backslashreplace")


def load(path: Path, **options: str) -> None:
    """Every row of the split ``train``, as a data set is read, and whether each is one."""
    from glm_ocr_finetune.readers import PROBLEMS, load_rows

    with cache_of_its_own(), one_line():
        for row in load_rows(str(path), split="train", **options).to_list():
            usable = row["text"] and row["image"] and row["source"]
            if not (row["problem"] in PROBLEMS if row["problem"] else usable):
                raise Fault(f"a row that is neither usable nor explained: {row}")


@contextmanager
def cache_of_its_own() -> Iterator[None]:
    """What is read is stored in memory, and thrown away; the user's cache is not touched."""
    import datasets

    usual, own = datasets.config.HF_DATASETS_CACHE, tempfile.mkdtemp(prefix="fuzzing-cache-", dir=memory())
    datasets.config.HF_DATASETS_CACHE = Path(own)
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = usual
        shutil.rmtree(own)


def readers(data: bytes) -> None:
    """A file of any known name with any content; or the folder that it lies in."""
    draw = Drawer(data)
    name, alone = draw.one_of(TEXT_FILES), draw.byte() % 2
    with file_of(name, draw.rest()) as file:
        load(file if alone and "/" not in name else workplace())


def pages(data: bytes) -> None:
    """A page file, changed as a tree or byte by byte, read by line, region or page."""
    from lxml import etree

    draw = Drawer(data)
    name, content = draw.one_of(tuple(DOCUMENTS.items()))
    level, as_tree = draw.one_of(("line", "region", "page")), draw.byte() % 4
    if as_tree and name.endswith(("xml", "html")):
        root = etree.fromstring(content.encode())
        changed(root, draw)
        spoilt = etree.tostring(root.getroottree(), encoding="utf-8", xml_declaration=True)
    else:
        spoilt = draw.rest()
    with file_of(name, spoilt, workplace_of_pages()) as file:
        load(file, level=level)


def conversations(data: bytes) -> None:
    """Conversations as they are exported, and mappings like them."""
    draw = Drawer(data)
    as_lines = draw.byte() % 2
    rows = [draw.value(CHAT_KEYS) for _ in range(1 + draw.byte() % 4)]
    if draw.byte() % 2:
        turns = [{"role": "user", "content": draw.value(CHAT_KEYS)}, {"role": "assistant", "content": draw.text()}]
        rows.insert(0, {"messages": turns, "images": draw.value(CHAT_KEYS)})
    text = "\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows)
    with file_of("rows.jsonl" if as_lines else "rows.json", text.encode()) as file:
        load(file)


def predictions(data: bytes) -> None:
    """Predictions of another system, paired and scored."""
    from glm_ocr_finetune.metrics import read_predictions, score

    draw = Drawer(data)
    if draw.byte() % 4 == 0:
        content = draw.rest()
    else:
        rows = [
            {key: draw.value(PREDICTION_KEYS, depth=3) for key in PREDICTION_KEYS if draw.byte() % 2}
            for _ in range(1 + draw.byte() % 5)
        ]
        content = "\n".join(map(json.dumps, rows)).encode()
    with file_of("predictions.jsonl", content) as file, one_line():
        found = score(read_predictions(file).readings)
        json.dumps(found.values, allow_nan=False)


def arguments(data: bytes) -> None:
    """Words of a command line, and a configuration file."""
    from glm_ocr_finetune.args import DataArguments  # noqa: F401  # a part of what is imported before it is timed
    from glm_ocr_finetune.parse import read_train, train_options

    draw = Drawer(data)
    names = [name for one in train_options() for name in (one.name, *one.also)]
    words: list[str] = []
    content: bytes | str = b""
    if draw.byte() % 3 == 0:
        content = (
            draw.rest() if draw.byte() % 2 else json.dumps({draw.text(names): draw.value(names) for _ in range(4)})
        )
        words += ["--config", str(workplace() / "run.yaml")]
    for _ in range(draw.byte() % 8):
        flag = draw.text([f"--{name}" for name in names])
        words += [flag] + [draw.text(VALUES) for _ in range(draw.byte() % 3)]
    content = content if isinstance(content, bytes) else content.encode()
    with file_of("run.yaml", content), one_line():
        read_train(words, "train")


VALUES = (
    *("True", "False", "true", "no", "0", "1", "-1", "0.5", "1e-4", "nan", "inf", "99999999999999999999", "all"),
    *("8GB", "0GB", "a:0.5", "a", "a,b", '{"a": 1}', "{", "[]", "None", "null", "", " ", "-", "--", "steps", "epoch"),
)
TARGETS: dict[str, Callable[[bytes], None]] = {
    "readers": readers,
    "pages": pages,
    "conversations": conversations,
    "predictions": predictions,
    "arguments": arguments,
}
