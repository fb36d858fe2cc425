"""In CI no test is skipped in silence: a skip that is not on the list fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shared_data import NO_SHARED
from skips import Skip

FOUND_IN_CI = """
import pytest
from shared_data import NO_SHARED

def test_runs(): assert True
@pytest.mark.skip(reason={reason})
def test_is_skipped(): pass
"""


def run_pytest(folder: Path, ci: str, text: str) -> subprocess.CompletedProcess[str]:
    """Pytest with this plugin on one file ``tests/test_it.py`` in a folder of its own."""
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text(text, encoding="utf-8")
    env = os.environ | {"CI": ci, "PYTHONPATH": str(Path(__file__).parent), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-p", "skips", "--rootdir", ".", "tests"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("ci", "reason", "code"), [("true", "'no such machine'", 1), ("", "'no such machine'", 0), ("true", "NO_SHARED", 0)]
)
def test_a_skip_that_is_not_on_the_list_fails_the_run(tmp_path: Path, ci: str, reason: str, code: int) -> None:
    done = run_pytest(tmp_path, ci, FOUND_IN_CI.format(reason=reason))
    assert done.returncode == code, done.stdout + done.stderr
    refused = "SKIPPED, which tests/skips.py does not allow: tests/test_it.py::test_is_skipped: no such machine"
    assert (refused in done.stdout) == (code == 1)


def test_a_file_that_is_skipped_as_a_whole_fails_the_run(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "true", "import pytest\npytest.importorskip('no_such_package')\ndef test(): pass\n")
    assert done.returncode not in (0, None)
    assert "tests/test_it.py: could not import 'no_such_package'" in done.stdout


def test_the_list_names_tests_and_reason() -> None:
    assert Skip("tests/readers/test_readers.py::test_shared_sets", NO_SHARED).is_allowed
    assert not Skip("tests/report/test_report_page.py::test_filter", "there is no chromium on this machine").is_allowed
    assert not Skip("benchmarks/test_x.py::test", NO_SHARED).is_allowed
