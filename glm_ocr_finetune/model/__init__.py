"""GLM-OCR itself: loading, freezing, adapters, and what a checkpoint holds."""

from .loading import load_for_reading, load_model

__all__ = ["load_for_reading", "load_model"]
