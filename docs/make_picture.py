"""Writes the README's picture from the output folder of a real demo: ``python docs/make_picture.py demo-run``.

On the left three held-out lines with what base and tuned model read in them, what is wrong in red; on the right the
report of the run. A headless Chromium draws it twice, for light and for dark pages.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from base64 import b64encode
from html import escape
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from glm_ocr_finetune.folders import BASE_READINGS, TUNED_READINGS, readings_file
from glm_ocr_finetune.metrics import SampleScore, read_predictions, score

CLONE = Path(__file__).resolve().parents[1]
FOLDER = CLONE / "docs" / "images"
SIZE = (1200, 560)  # in CSS pixels; the files have twice as many
SHOWN = 3
COLOURS = {
    "light": "--page:#fff; --ink:#1f2933; --soft:#52606d; --line:#d3dae0; --wrong:#b42318; --right:#146c43;",
    "dark": "--page:#0d1117; --ink:#e6edf3; --soft:#9aa7b3; --line:#3d4750; --wrong:#ff8a7a; --right:#6fdca4;",
}
PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>
:root {{ {colours} }}
body {{ margin: 0; width: {width}px; height: {height}px; background: var(--page); color: var(--ink); overflow: hidden;
  font: 19px/1.35 system-ui, sans-serif; }}
main {{ position: absolute; inset: 14px auto 14px 14px; width: 520px; display: flex; flex-direction: column; gap: 12px; }}
section {{ border: 1px solid var(--line); border-radius: 10px; padding: 0 16px; flex: 1; display: flex; flex-direction: column;
  justify-content: center; align-items: flex-start; }}
img {{ display: block; max-height: 58px; max-width: 100%; border-radius: 5px; margin-bottom: 12px; }}
p {{ margin: 0 0 5px; display: grid; grid-template-columns: 66px 1fr; align-items: baseline; white-space: nowrap; }}
b {{ font-weight: 500; color: var(--soft); font-size: 17px; }}
code {{ font: 21px/1.3 ui-monospace, "DejaVu Sans Mono", monospace; color: var(--right); }}
mark {{ background: none; color: var(--wrong); text-decoration: underline; text-decoration-thickness: 1px;
  text-underline-offset: 4px; }}
div {{ position: absolute; left: 554px; top: 14px; width: 630px; height: 530px; border: 1px solid var(--line);
  border-radius: 10px; overflow: hidden; }}
iframe {{ border: 0; width: {frame}px; height: 1200px; transform: scale({scale}); transform-origin: 0 0; }}
</style><main>{lines}</main><div><iframe src="report-{scheme}.html"></iframe></div>"""


def reading(sample: SampleScore) -> str:
    """The text that was read as HTML, with what is not in the truth marked."""
    text = sample.reading.prediction
    marked = []
    for step in Levenshtein.opcodes(sample.reading.truth, text):
        part = escape(text[step.dest_start : step.dest_end])
        marked.append(part if step.tag == "equal" else f"<mark>{part}</mark>" if part else "")
    return "".join(marked)


def line(before: SampleScore, after: SampleScore) -> str:
    """One held-out line: its image and both readings."""
    image = b64encode(Path(str(after.reading.image)).read_bytes()).decode()
    rows = f"<p><b>base</b><code>{reading(before)}</code></p><p><b>tuned</b><code>{reading(after)}</code></p>"
    return f'<section><img src="data:image/png;base64,{image}">{rows}</section>'


def draw(browser: str, folder: Path, scheme: str, lines: str, report: str) -> None:
    """Write the picture for one colour scheme."""
    (folder / f"report-{scheme}.html").write_text(
        report.replace("<html ", f'<html data-scheme="{scheme}" ', 1), encoding="utf-8"
    )
    page = folder / f"{scheme}.html"
    frame = 800
    filled = PAGE.format(
        colours=COLOURS[scheme],
        width=SIZE[0],
        height=SIZE[1],
        frame=frame,
        scale=630 / frame,
        lines=lines,
        scheme=scheme,
    )
    page.write_text(filled, encoding="utf-8")
    target = FOLDER / f"picture-{scheme}.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=2"]
    window = [f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=4000", f"--screenshot={target}"]
    subprocess.run([browser, *flags, *window, page.as_uri()], check=True, capture_output=True, timeout=120)


def main(run: Path) -> None:
    """Draw both pictures from the output folder of a demo."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium draws the picture; it is not installed")
    before, after = (
        score(read_predictions(readings_file(run, name)).readings).samples for name in (BASE_READINGS, TUNED_READINGS)
    )
    lines = "".join(line(*pair) for pair in list(zip(before, after, strict=True))[:SHOWN])
    report = (run / "report.html").read_text(encoding="utf-8").replace(f"{CLONE}/", "")
    with tempfile.TemporaryDirectory() as folder:
        for scheme in COLOURS:
            draw(browser, Path(folder), scheme, lines, report)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
