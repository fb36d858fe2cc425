"""Writes ``docs/cli.md`` from the ``--help`` of every command; ``--check`` only tells whether it is up to date."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

TARGET = Path(__file__).with_name("cli.md")


def render() -> str:
    """The reference page: each command's help as it is printed."""
    os.environ["COLUMNS"] = "100"
    from glm_ocr_finetune.cli import COMMANDS, main

    pages = ["# Command reference\n\nMade by `make docs` from `--help`; edit the arguments in `args.py` instead.\n"]
    for words in ([], *([name] for name in COMMANDS)):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            main([*words, "--help"])
        pages.append(f"## {' '.join(['glm-ocr-finetune', *words])}\n\n```text\n{output.getvalue().rstrip()}\n```\n")
    return "\n".join(pages)


def run(check: bool) -> int:
    """Write the page, or tell whether it is what it would be."""
    page = render()
    if check and (not TARGET.is_file() or TARGET.read_text() != page):
        sys.stderr.write("docs/cli.md is out of date: make docs\n")
        return 1
    if not check:
        TARGET.write_text(page)
    return 0


if __name__ == "__main__":
    raise SystemExit(run("--check" in sys.argv))
