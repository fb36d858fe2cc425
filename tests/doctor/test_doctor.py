"""The command, for real: everything is looked at, the tiny model trains and reads, and the exit code tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glm_ocr_finetune.doctor import tell_faults
from glm_ocr_finetune.doctor.findings import Finding

CLONE = Path(__file__).parents[2]
NOTE = Finding("c", "missing", "note", "pip install c")


@pytest.mark.slow
def test_here_nothing_is_broken(run: Any) -> None:
    code, out, err = run("doctor")
    assert code == 0, out + err
    lines = out.splitlines()
    assert lines[0].startswith("### glm-ocr-finetune doctor, 20")
    found = {line.split("|")[1].strip(): line for line in lines[3:] if line.startswith("|")}
    assert {"Python", "torch", "GPU", "memory", "cache of the hub", "hub", "bitsandbytes"} <= set(found)
    assert "four words read in" in found["one step and one reading"]
    assert "BROKEN" not in out
    assert err.splitlines()[-1].startswith("Nothing that is needed is broken")


@pytest.mark.slow
def test_a_cache_that_cannot_be_written(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    code, out, err = run("doctor")
    assert code == 1
    assert out.count("BROKEN") == 2  # the cache, and the trial that needs it
    assert "cannot write to the data set cache" in out
    assert "1. cache of the hub: " in err
    assert "   export HF_HOME=FOLDER, one that you can write to" in err


def test_faults_are_numbered_with_what_mends_them(capsys: pytest.CaptureFixture[str]) -> None:
    from glm_ocr_finetune.messages import speak

    speak()
    assert tell_faults([Finding("a", "fine"), Finding("b", "old", "BROKEN", "pip install b"), NOTE]) == 1
    assert capsys.readouterr().err == "\n1 broken. What mends it, in this order:\n1. b: old\n   pip install b\n"
    assert tell_faults([Finding("a", "fine"), NOTE]) == 0
    assert "Nothing that is needed is broken" in capsys.readouterr().err


def test_it_starts_where_nothing_can_be_imported(tmp_path: Path) -> None:
    """Nothing but the standard library is imported in its own process."""
    program = (
        "import sys\n"
        "import glm_ocr_finetune.doctor\n"
        "foreign = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "foreign = {name for name in foreign if not name.startswith(('_', 'glm_ocr', 'site', 'usercustomize'))}\n"
        "assert not foreign & {'torch', 'transformers', 'numpy', 'rich', 'packaging', 'psutil', 'PIL', 'yaml'}, foreign"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=CLONE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
