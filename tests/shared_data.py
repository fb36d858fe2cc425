"""The one place that knows where real data lies: a folder ``shared`` beside the clone, which is not part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

CLONE = Path(__file__).parents[1]
# beside the clone, or, where this is a worktree in a folder of worktrees, beside that folder
PLACES = tuple(folder / "shared" for folder in CLONE.parents[:2])
SHARED = next((place for place in PLACES if (place / "data").is_dir()), PLACES[0])
DATA = SHARED / "data"
NO_SHARED = "there is no folder shared beside the clone"

needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=NO_SHARED)
