from __future__ import annotations

import subprocess
import sys


def test_importing_metrics_brings_in_nothing_heavy() -> None:
    code = "import sys, glm_ocr_finetune.metrics; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "table_recognition_metric", "apted", "jiwer"} & set(loaded)
