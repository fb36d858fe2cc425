"""Writes ``docs/cli.md`` from the ``--help`` of every command, and ``docs/sft-arguments.md`` from the table of TRL's.

``--check`` only tells whether they are up to date.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def render_commands() -> str:
    """The reference page: each command's help as it is printed, its arguments in tables."""
    os.environ["COLUMNS"] = "5000"  # an argument and its help on one line or two
    from glm_ocr_finetune.cli import COMMANDS, main

    pages = ["# Command reference\n\nMade by `make docs` from `--help`; edit the arguments in `args.py` instead.\n"]
    for words in ([], *([name] for name in COMMANDS)):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            main([*words, "--help"])
        text = output.getvalue().rstrip()
        body = "\n".join(tables(text)).strip("\n") if words else f"```text\n{text}\n```"
        pages.append(f"## {' '.join(['glm-ocr-finetune', *words])}\n\n{body}\n")
    return "\n".join(pages)


def tables(text: str) -> Iterator[str]:
    """Lines of the page for the help of a command: a table for each group of arguments, and what is said beside them."""
    usage, *lines = re.sub(r"(\n  --[^\n]*)\n {24}", r"\1  ", text).splitlines()
    if not any(line.startswith("  --") for line in lines):
        yield usage.replace("usage: ", "`") + "`\n"
    for line in lines:
        if line.startswith("  --"):
            yield argument_row(*re.split(r" {2,}", line.strip(), maxsplit=1))
        elif line.endswith(":") and not line.startswith(" "):
            yield f"### {line[:-1]}\n\n| argument | what it does | default |\n|---|---|---|"
        else:
            yield with_code(line)


def argument_row(names: str, says: str) -> str:
    """One argument: its names and values, its help, and the default that the help ends with."""
    found = re.fullmatch(r"(.*?)(?: ?Default: (.*)\.)?", says)
    assert found
    given = "<br>".join(f"`{name}`" for name in re.findall(r"--\S+", names))
    values = re.sub(r"--\w+,? ?", "", names).split(", ")[0]  # stands once or, before Python 3.13, behind each name
    shown = ", ".join(f"`{value}`" for value in re.split(r"[|,]", values.strip("{}[]")) if value)
    cells = (f"{given} {shown}".strip(), with_code(found[1]), with_code(found[2] or ""))
    return f"| {' | '.join(cells)} |"


def with_code(text: str) -> str:
    """Help as Markdown: flags in code, signs that mean something there as they are."""
    plain = re.sub(r"([*<|])", r"\\\1", text)
    return re.sub(r"(?<![\w-])--[a-z0-9_]+(?: [A-Z][A-Za-z.]+)?(?![\w-])", r"`\g<0>`", plain)


SFT_HEAD = """# The arguments of TRL's SFTConfig

Made by `make docs` from `sft_arguments.py`, the table that the command line itself is parsed and checked with. `train`
takes every argument of `SFTConfig`. Each one below takes effect, or is refused with the reason given here; one that
has no effect on this machine or without another argument is refused or reported in one line. A test compares the
table with the installed TRL.
"""


def render_sft_arguments() -> str:
    """The page of TRL's arguments: with this package's default, as they are, and refused."""
    from glm_ocr_finetune.args import TrainingDefaults
    from glm_ocr_finetune.sft_arguments import ARGUMENTS, OURS

    ours = [(one.name, one.metadata["help"]) for one in fields(TrainingDefaults) if one.name in OURS]
    acting = [one for one in ARGUMENTS if one.only is None or len(one.only) > 1]
    refused = [one for one in ARGUMENTS if one not in acting]
    return "\n".join(
        [
            SFT_HEAD,
            f"## With this package's own default ({len(ours)})\n",
            *table(("argument", "what it does"), ours),
            f"\n## As in TRL ({len(acting)})\n",
            *table(("argument", "what it does", "needs"), ((one.name, does(one), needs(one)) for one in acting)),
            f"\n## Refused ({len(refused)})\n",
            *table(("argument", "accepted", "why"), ((one.name, accepted(one.only), one.does) for one in refused)),
            "",
        ]
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table; the first cell of a row is an argument."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return [*lines, *(f"| `--{name}` | {' | '.join(cells)} |" for name, *cells in rows)]


def does(one: Any) -> str:
    """What an argument does, and its values where there are some to choose from."""
    values = one.only or one.choices
    return one.does + (f": {', '.join(f'`{value}`' for value in values if value)}" if values else "")


def needs(one: Any) -> str:
    """What an argument has no effect without."""
    from glm_ocr_finetune.argument_checks import NEEDS

    return NEEDS[one.needs].says if one.needs else ""


def accepted(only: tuple[Any, ...]) -> str:
    """The value that does no harm."""
    (value,) = only
    return "left out" if value in (None, [], "") else f"`{value}`"


PAGES: dict[str, Callable[[], str]] = {"cli.md": render_commands, "sft-arguments.md": render_sft_arguments}


def run(check: bool) -> int:
    """Write the pages, or tell whether they are what they would be."""
    stale = []
    for name, render in PAGES.items():
        file, page = FOLDER / name, render()
        if check and (not file.is_file() or file.read_text(encoding="utf-8") != page):
            stale.append(name)
        if not check:
            file.write_text(page, encoding="utf-8")
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(run("--check" in sys.argv))
