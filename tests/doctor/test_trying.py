"""The trial in a fresh process, for real; and whose fault it is where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

import glm_ocr_finetune
from glm_ocr_finetune.doctor import trying
from glm_ocr_finetune.doctor.findings import Finding
from glm_ocr_finetune.doctor.trial import WORDS
from glm_ocr_finetune.doctor.trying import judged


def test_what_is_read_is_judged() -> None:
    assert trying.WORDS == WORDS
    attention, good = judged(1.5, 0.5, list(WORDS), False)
    assert (attention.found, good.state) == ("each sample on its own", "ok")
    assert good.found == "tiny model trained for a step in 1.5 s, four words read in 0.5 s"
    _, bad = judged(1.5, 0.5, ["amber", "birch", "", "x"], True)
    assert bad.state == "BROKEN"
    assert "was read as 'amber', 'birch', '', 'x'" in bad.found


def test_an_old_transformers_fails_in_the_trial_and_is_not_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of that name without the class that is needed, as releases before 5 are."""
    (tmp_path / "transformers").mkdir()
    (tmp_path / "transformers" / "__init__.py").write_text("__version__ = '4.57.0'\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("glm_ocr_finetune.doctor.fresh.CLONE", tmp_path)
    (tmp_path / "glm_ocr_finetune").symlink_to(Path(glm_ocr_finetune.__file__).parent)
    known = Finding("transformers", "4.57.0", "BROKEN", "pip install -U transformers")
    (failed,) = trying.tried([known])
    assert failed.state == "BROKEN"
    assert "transformers" in failed.found
    assert failed.mend == "mend what stands above, then run this again"


def test_the_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("glm_ocr_finetune.doctor.fresh.CLONE", tmp_path)
    (found,) = trying.broken_imports(set())
    assert (found.what, found.found) == ("import torch", "OSError: libcudart.so.13: cannot open")
    assert found.mend == "pip install --force-reinstall 'torch>=2.10'"
    assert trying.broken_imports({"numpy"}) == []
