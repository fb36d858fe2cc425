"""One system in a process of its own, with empty caches."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .recording import Settings

ROOT = Path(__file__).parents[2]
RUNNERS = {"ours": "ours", "trl": "trl_plain", "llamafactory": "llamafactory_run", "ms_swift": "ms_swift_run"}


def run_peer(system: str, python: str, settings: Settings, others: Sequence[str] = (), packages: str = "") -> None:
    """Train with ``system`` of :data:`RUNNERS`; the record is where the settings say.

    Args:
        python: the interpreter of its environment.
        others: arguments that the runner hands on.
        packages: a folder of packages to find before those of the interpreter.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    python = str(Path(python).absolute()) if os.sep in python else python  # a link of a virtual environment stays one
    command = [python, "-m", f"benchmarks.peers.{RUNNERS[system]}", *settings.argv(), *others]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads), "XDG_CACHE_HOME": cache}
        if packages:
            environment["PYTHONPATH"] = packages
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise SystemExit(f"{said}\n{system} ({settings.mode}) ended with code {done.returncode}")
