"""Reading into a folder: what is kept, what is not read twice, and runs that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from drawing import WORDS, write_lines

from glm_ocr_finetune.inputs.images import ImageError
from glm_ocr_finetune.reading.many import Answers, read_into
from glm_ocr_finetune.reading.results import Answer
from glm_ocr_finetune.reading.scans import Scan

SCANS = [Scan(f"{index}", f"{index}.png", "d", index) for index in range(20)]


def results(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "readings.jsonl").read_text(encoding="utf-8").splitlines()]


class Engine:
    """Reads backwards within sevens, fails on one, and dies after some."""

    def __init__(self, dies_after: int = 1000) -> None:
        self.left, self.seen = dies_after, []

    def __call__(self, scans: Iterator[Scan]) -> Answers:
        while window := list(islice(scans, 7)):
            for scan in reversed(window):
                if not self.left:
                    raise RuntimeError("killed")
                self.left -= 1
                self.seen.append(scan.id)
                yield (
                    scan,
                    ImageError("unreadable_image", "bad") if scan.id == "13" else Answer(scan.id, True, False, 1, 0.1),
                )


@pytest.mark.parametrize("dies_after", [0, 1, 6, 7, 13, 19])
def test_a_run_that_died_goes_on_where_it_was(tmp_path: Path, dies_after: int) -> None:
    first, second = Engine(dies_after), Engine()
    with pytest.raises(RuntimeError, match="killed"):
        read_into(tmp_path, lambda: SCANS, first, None, False, "m", "p")
    tally, complete = read_into(tmp_path, lambda: SCANS, second, None, False, "m", "p")
    assert complete
    assert sorted(map(int, first.seen + second.seen)) == list(range(20))
    assert [row["id"] for row in results(tmp_path)] == [str(index) for index in range(20)]
    assert (tally.read + tally.failed, results(tmp_path)[13]["error"]) == (20 - dies_after, "bad")
    again = Engine()
    read_into(tmp_path, lambda: SCANS, again, None, False, "m", "p")
    assert again.seen == []
    read_into(tmp_path, lambda: SCANS, again, None, True, "m", "p")
    assert again.seen == ["13"]


def test_shares_make_one_result(tmp_path: Path) -> None:
    engines = [Engine() for _ in range(3)]
    complete = [
        read_into(tmp_path, lambda: SCANS, one, f"{k}/3", False, "m", "p")[1] for k, one in enumerate(engines, 1)
    ]
    assert complete == [False, False, True]
    assert [row["id"] for row in results(tmp_path)] == [str(index) for index in range(20)]
    assert sorted(map(int, (name for one in engines for name in one.seen))) == list(range(20))


@pytest.mark.slow
def test_killed_at_random_moments_each_image_is_read_once(tmp_path: Path) -> None:
    """kill -9 of the real command, again and again, until it comes to its end."""
    rng = random.Random(0)
    write_lines(tmp_path / "in", "train", [f"{rng.choice(WORDS)} {index}" for index in range(120)])
    command = [
        *(sys.executable, "-m", "glm_ocr_finetune", "infer", "--model", "tiny-random", "--batch_size", "4"),
        *("--image", str(tmp_path / "in" / "images"), "--output_dir", str(tmp_path / "out"), "--max_new_tokens", "24"),
    ]
    journal = tmp_path / "out" / "journals" / "1-of-1.jsonl"
    for _ in range(20):
        before = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and (not journal.exists() or journal.stat().st_size == before):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, env=os.environ, stderr=subprocess.DEVNULL)
    ids = [json.loads(line)["id"] for line in journal.read_text(encoding="utf-8").splitlines()]
    assert len(ids) == len(set(ids)) == 120
    plain = [*command]
    plain[plain.index(str(tmp_path / "out"))] = str(tmp_path / "plain")
    subprocess.run(plain, check=True, stderr=subprocess.DEVNULL)
    texts = [{row["id"]: row["text"] for row in results(tmp_path / name)} for name in ("out", "plain")]
    assert texts[0] == texts[1]
