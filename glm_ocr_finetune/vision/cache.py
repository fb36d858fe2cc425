"""Image features of a frozen vision tower, computed once for an image and kept.

An entry holds what ``mm_encoder_outputs`` takes for one image: the merged features, (num_image_tokens, hidden), in
the type that the tower computes in. It is found by the image's bytes and its pixel budget, within a collection that
is named after the weights of the tower and the settings of the processor: whatever changes a feature changes its name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..folders import kept_for_later
from ..inputs.processor import PixelBudget

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)

KEY_BYTES = 16
ENTRIES = 2  # version of what an entry holds beside the features: 2 has a checksum
GIGABYTE = 10**9


class FeatureStore(Protocol):
    """Where features are kept. ``get`` gives None for what is not there, or not whole."""

    def get(self, key: bytes) -> torch.Tensor | None: ...

    def put(self, key: bytes, features: torch.Tensor) -> bool: ...


@dataclass
class MemoryStore:
    """Features in the memory of the process that trains.

    A copy in a data-loading worker that was not forked has no features but knows which there are: it gives tensors
    of no width in their place, and :class:`~.encoder.VisionEncoder` takes the features from here.

    Attributes:
        limit: most bytes to hold; what comes later is not kept.
        known: number of tokens of features that another process holds.
    """

    limit: float
    used: int = 0
    entries: dict[bytes, torch.Tensor] = field(default_factory=dict)
    known: dict[bytes, int] = field(default_factory=dict)

    def get(self, key: bytes) -> torch.Tensor | None:
        import torch

        return torch.empty(self.known[key], 0) if key in self.known else self.entries.get(key)

    def put(self, key: bytes, features: torch.Tensor) -> bool:
        size = features.nbytes
        if key in self.entries:
            return True
        if self.used + size > self.limit:
            return False
        self.entries[key] = features.cpu().clone()
        self.used += size
        return True

    def __getstate__(self) -> dict[str, Any]:
        known = self.known | {key: len(features) for key, features in self.entries.items()}
        return {"limit": 0.0, "used": 0, "entries": {}, "known": known}


class DiskStore:
    """Features in safetensors files, one an image, shared by ranks, workers and later runs.

    A file appears whole or not at all: it is written under another name and renamed. What is cut off, was changed, or
    lies under a wrong name, is noticed when it is read, said, and made again. What cannot be written is not kept.

    Args:
        directory: of the collection; its neighbours are collections of other towers or settings.
        limit: most bytes to hold on disk; older collections beside this one make room first.
    """

    def __init__(self, directory: Path, limit: float) -> None:
        self.directory, self.limit = directory, limit
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's, to be read only
            os.utime(directory)
        self.used = _size(directory)
        self._make_room()

    def _make_room(self) -> None:
        """Delete neighbours, longest unused first, until this collection may grow to its limit."""
        others = [path for path in self.directory.parent.iterdir() if path.is_dir() and path != self.directory]
        sizes = {path: _size(path) for path in others}
        for path in sorted(others, key=_last_used):
            if self.used + sum(sizes.values()) <= self.limit:
                return
            del sizes[path]
            shutil.rmtree(path, ignore_errors=True)

    def file(self, key: bytes) -> Path:
        name = key.hex()
        return self.directory / name[:2] / f"{name}.safetensors"

    def get(self, key: bytes) -> torch.Tensor | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.file(key), framework="pt") as handle:
                about = handle.metadata() or {}
                features: torch.Tensor = handle.get_tensor("features")
            if about.get("key") == key.hex() and about.get("checksum") == _checksum(features):
                return features
            damage = "does not hold what was written" if about.get("key") == key.hex() else "lies under a wrong name"
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError) as error:
            damage = f"cannot be read ({error})"
        logger.warning("cached image features %s: %s; they are computed again", self.file(key), damage)
        with contextlib.suppress(OSError):
            self.file(key).unlink()
        return None

    def put(self, key: bytes, features: torch.Tensor) -> bool:
        from safetensors.torch import save

        file = self.file(key)
        if file.exists():
            return True
        if self.used + features.nbytes > self.limit:
            return False
        features = features.cpu().contiguous()
        data = save({"features": features}, {"key": key.hex(), "checksum": _checksum(features)})
        try:
            self._write(file, data)
        except OSError as error:
            logger.warning("%s cannot be written (%s): no more image features are kept", file.parent.parent, error)
            self.limit = 0
            return False
        self.used += len(data)
        return True

    def _write(self, file: Path, data: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as handle:
            try:
                handle.write(data)
            except OSError:
                os.unlink(handle.name)
                raise
        os.replace(handle.name, file)


def _checksum(features: torch.Tensor) -> str:
    import torch

    return f"{zlib.crc32(features.contiguous().view(torch.uint8).numpy().tobytes()):08x}"


def _files(directory: Path) -> Iterable[Path]:
    return directory.glob("??/*.safetensors")


def _size(directory: Path) -> int:
    """Bytes of a collection; another process may be removing it."""
    total = 0
    for file in _files(directory):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _last_used(directory: Path) -> float:
    try:
        return directory.stat().st_mtime
    except FileNotFoundError:  # another process has removed it
        return 0.0


@dataclass
class VisionCache:
    """Features by image and pixel budget.

    Attributes:
        fingerprint: names everything else that features depend on; see :func:`fingerprint`.
        refused: images that found no room.
    """

    fingerprint: str
    store: FeatureStore
    refused: int = 0

    def key(self, content: bytes, budget: PixelBudget) -> bytes:
        """``KEY_BYTES`` bytes for the image with this content key within a budget."""
        name = f"{self.fingerprint} {budget.min_pixels} {budget.max_pixels} ".encode()
        return blake2b(name + content, digest_size=KEY_BYTES).digest()

    def get(self, key: bytes, num_tokens: int) -> torch.Tensor | None:
        """The features (num_tokens, hidden), or None where they are not there or not of that size."""
        features = self.store.get(key)
        return features if features is not None and len(features) == num_tokens else None

    def put(self, key: bytes, features: torch.Tensor) -> None:
        """Keep (num_image_tokens, hidden) features, if there is room."""
        if not self.store.put(key, features.detach()):
            self.refused += 1
            if self.refused == 1:
                logger.warning("the cache of image features takes no more: what is not in it is encoded every epoch")


def fingerprint(visual: nn.Module, processor: Glm46VProcessor) -> str:
    """A digest of the weights and types of ``visual`` (tower and projector) and of the processor's settings.

    The pixel budget is not in it: it belongs to each image, which may be shrunk on its own.
    """
    import torch
    from transformers import __version__

    digest = blake2b(digest_size=12)
    settings = processor.image_processor.to_dict()
    settings.pop("size", None)
    digest.update(json.dumps([settings, __version__, ENTRIES], sort_keys=True, default=str).encode())
    for name, value in sorted(visual.state_dict().items()):
        digest.update(f"{name} {value.dtype} ".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def cache_home() -> Path:
    """Where collections on disk are."""
    return kept_for_later("vision")


SHARE_OF_FREE = 0.5  # of the free memory or disk, unless --vision_cache_gb says otherwise
