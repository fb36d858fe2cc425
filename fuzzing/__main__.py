"""Fuzz one target for some minutes, guided by coverage (atheris, on Linux), or run its kept inputs once.

    pip install atheris
    python -m fuzzing readers --minutes 60
    python -m fuzzing readers --minutes 0          # the kept inputs only

New inputs that reach new code go to ``--corpus``, a folder that is made; ``fuzzing/corpus/TARGET`` holds a small set
that reaches the same and runs in the tests. An input that is a fault is written to ``--faults``, and the run goes on
without stopping where libFuzzer can (``--minutes`` is kept by starting again after a fault).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

KEPT = Path(__file__).parent / "corpus"
SLOWEST_S = 20
MOST_MB = 3000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=("readers", "pages", "conversations", "predictions", "arguments"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--corpus", type=Path, help="default: fuzzing-TARGET in the current folder")
    parser.add_argument("--faults", type=Path, default=Path("fuzzing-faults"))
    parser.add_argument("--minimise", action="store_true", help="write a small set of --corpus to fuzzing/corpus")
    parser.add_argument("--within", type=int, help=argparse.SUPPRESS)  # seconds; the process that fuzzes
    args, own_words = parser.parse_known_args()
    if own_words:
        fuzz(args.target, own_words)  # libFuzzer starts this program again to look at a corpus
    corpus = args.corpus or Path(f"fuzzing-{args.target}")
    kept = KEPT / args.target
    for folder in (corpus, args.faults, kept):
        folder.mkdir(parents=True, exist_ok=True)
    if args.minutes == 0 and not args.minimise:
        return run_kept(args.target)
    words = [f"-artifact_prefix={args.faults}/{args.target}-", f"-timeout={SLOWEST_S}", f"-rss_limit_mb={MOST_MB}"]
    if args.minimise:
        fuzz(args.target, [*words, "-merge=1", str(kept), str(corpus)])
    elif args.within:
        fuzz(
            args.target,
            [*words, f"-max_total_time={args.within}", "-max_len=4096", "-len_control=0", str(corpus), str(kept)],
        )
    else:
        keep_fuzzing(args.target, corpus, args.faults, args.minutes)
    return 0


def keep_fuzzing(target: str, corpus: Path, faults: Path, minutes: float) -> None:
    """Processes one after another, each until it finds a fault, until the time is over."""
    end, found = time.monotonic() + 60 * minutes, 0
    while (left := int(end - time.monotonic())) > 0:
        command = [sys.executable, "-m", "fuzzing", target, "--corpus", str(corpus), "--faults", str(faults)]
        found += subprocess.run([*command, "--within", str(left)]).returncode != 0
    print(f"{target}: {minutes:g} minutes, {found} faults, {len(list(corpus.iterdir()))} inputs in {corpus}")


def fuzz(target: str, words: list[str]) -> None:
    """Hand this process over to libFuzzer; it does not come back."""
    import atheris

    quiet()
    with atheris.instrument_imports(include=["glm_ocr_finetune"]):
        from . import targets

        import_all("readers", "metrics", "inputs")
    atheris.Setup([f"{sys.executable} -m fuzzing {target}", *words], targets.TARGETS[target])
    atheris.Fuzz()


def import_all(*packages: str) -> None:
    """Import all modules of these packages, which import each other late; what is imported later is not guided by."""
    import importlib
    import pkgutil

    importlib.import_module("glm_ocr_finetune.parse")
    for package in packages:
        found = importlib.import_module(f"glm_ocr_finetune.{package}")
        for module in pkgutil.walk_packages(found.__path__, f"{found.__name__}."):
            importlib.import_module(module.name)


def run_kept(target: str) -> int:
    """Run the kept inputs; the number of faults, of which each is shown."""
    quiet()
    from .targets import TARGETS

    files, faults = sorted((KEPT / target).iterdir()), 0
    for file in files:
        try:
            TARGETS[target](file.read_bytes())
        except Exception as error:
            faults += 1
            print(f"{file}: {type(error).__name__}: {error}")
    print(f"{target}: {len(files)} kept inputs, {faults} faults")
    return min(faults, 1)


def quiet() -> None:
    """Nothing is said of what is read, and nothing of a hub is asked."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    logging.disable(logging.CRITICAL)
    import datasets

    datasets.disable_progress_bars()
    with contextlib.suppress(ImportError):
        import warnings

        warnings.simplefilter("ignore")


if __name__ == "__main__":
    sys.exit(main())
