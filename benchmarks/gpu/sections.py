"""All sections with their cases, in the order in which they run, and the seconds that each may take on a GPU."""

from __future__ import annotations

from . import equality, memory, reading, setup, speed, tuning
from .cases import Case

SECTIONS: dict[str, dict[str, Case]] = {
    "setup": setup.CASES,
    "equality": equality.CASES | tuning.CASES,
    "memory": memory.CASES,
    "reading": reading.CASES,
    "speed": speed.CASES,
}
LIMITS_S = {"setup": 90, "equality": 240, "memory": 110, "reading": 60, "speed": 280}  # 780 in all
