"""Rows to batches: what is kept, how it is split, and how samples become tensors."""

from .samples import format_for_vlm
from .splits import default_split, load_splits

__all__ = ["default_split", "format_for_vlm", "load_splits"]
