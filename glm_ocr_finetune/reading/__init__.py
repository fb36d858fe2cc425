"""Images into text."""
