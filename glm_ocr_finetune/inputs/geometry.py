"""The grid that GLM-OCR lays over an image: patches of the vision tower, and the image tokens made of them."""

from __future__ import annotations

PATCH_SIDE = 14  # pixels
MERGE_SIDE = 2  # patches on a side of an image token
TOKEN_SIDE = PATCH_SIDE * MERGE_SIDE  # pixels: 28
PATCHES_PER_TOKEN = MERGE_SIDE**2
PIXELS_PER_TOKEN = TOKEN_SIDE**2
FRAMES = 2  # the image processor counts every image as two video frames, so its sizes are twice the pixels
