"""Which process speaks: the only one there is, and the first of two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glm_ocr_finetune.ranks import is_main_process, join_ranks

TWO_RANKS = """
from glm_ocr_finetune.ranks import is_main_process, join_ranks
join_ranks()
import torch.distributed as dist, sys
sys.stdout.write(f"{dist.get_rank()} of {dist.get_world_size()}: {is_main_process()}\\n")
"""


def test_a_process_alone_is_the_main_one() -> None:
    join_ranks()
    assert is_main_process()


@pytest.mark.slow
def test_of_two_processes_the_first_is_the_main_one(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TWO_RANKS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(done.stdout.split("\n")[:2]) == ["0 of 2: True", "1 of 2: False"]


TAKING_TURNS = """
import sys, time
from pathlib import Path
from glm_ocr_finetune.ranks import first_of_a_machine, join_ranks
join_ranks()
file = Path(sys.argv[1])
for number in range(2):
    with first_of_a_machine():
        there = file.with_suffix(f".{number}").exists()
        if not there:
            time.sleep(0.5)
            file.with_suffix(f".{number}").touch()
        sys.stdout.write(f"{'opened' if there else 'made'}\\n")
try:
    with first_of_a_machine():
        raise OSError("each")
except OSError:
    sys.stdout.write("failed\\n")
"""


@pytest.mark.slow
def test_what_one_process_makes_the_others_open_and_where_it_fails_none_waits(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TAKING_TURNS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "3"]
    done = subprocess.run(
        [*command, "program.py", str(tmp_path / "file")], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.split()
    assert {word: said.count(word) for word in set(said)} == {"made": 2, "opened": 4, "failed": 3}
