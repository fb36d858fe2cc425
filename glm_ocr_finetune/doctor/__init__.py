"""What is wrong with an installation, and the command that mends each fault; made to be pasted into a bug report."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone

from ..command_args import DoctorArguments
from ..messages import heading
from .findings import Finding, faults, table
from .machine import disk_and_memory, folders, graphics, hub
from .packages import extras, itself, needed
from .trying import tried

logger = logging.getLogger(__name__)

TITLE = "glm-ocr-finetune doctor"


def doctor(args: DoctorArguments) -> int:
    """Look at everything and print it. Nothing heavy is imported here: broken packages break another process.

    Returns:
        The exit code: 1 when something that is needed is broken, else 0.
    """
    logger.info("this takes up to a minute: the tiny model is trained for a step and read with")
    findings = [*itself(), *needed(), *graphics(), *disk_and_memory(), *folders(), *hub(), *extras()]
    findings += tried(findings)
    day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    sys.stdout.write(f"### {TITLE}, {day}\n\n{table(findings)}\n")
    return tell_faults(findings)


def tell_faults(findings: list[Finding]) -> int:
    """Say what is broken and what mends it; the exit code."""
    broken = faults(findings)
    sys.stdout.flush()
    if not broken:
        heading("Nothing that is needed is broken. For a bug report, paste the text above.")
        return 0
    heading(f"{len(broken)} broken. What mends it, in this order:")
    for number, one in enumerate(broken, start=1):
        logger.info("%d. %s: %s\n   %s", number, one.what, one.found, one.mend)
    return 1
