"""Image features for the language model: from the cache where they are, from the tower where not."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..inputs.geometry import PATCHES_PER_TOKEN
from ..ranks import greatest
from .cache import SHARE_OF_FREE, DiskStore, VisionCache, cache_home, fingerprint

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import Glm46VProcessor

logger = logging.getLogger(__name__)

PATCHES_AT_A_TIME = 4_096  # the tower is fastest while what it works on stays near the processor
INPUTS = ("image_grid_thw", "pixel_values", "image_features", "is_cached", "image_keys")


def without_adapters(model: Any) -> Any:
    """The ``GlmOcrForConditionalGeneration`` inside a model with or without adapters."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def backbone_of(model: Any) -> Any:
    """The ``GlmOcrModel`` inside a model with or without adapters: ``visual`` and ``language_model`` are its parts."""
    return without_adapters(model).model


def bring_back(model: Any, device: torch.device) -> None:
    """Put a tower that has left the GPU back beside the language model, before something is generated.

    ``generate`` moves its inputs to the device of a model's first weight, and that is the tower's.
    """
    visual = backbone_of(model).visual
    if visual.device.type not in (device.type, "meta"):
        visual.to(device)


@dataclass
class VisionEncoder:
    """Image features of a batch: those that were found in the cache, the others from the tower.

    Attributes:
        cache: where new features go; None keeps nothing.
        frozen: no gradient is wanted, so none is recorded.
        live: images encoded since the count was last set to 0.
        together: ranks that share out the weights run the tower equally often, some of them on nothing.
    """

    cache: VisionCache | None = None
    frozen: bool = True
    live: int = 0
    together: bool = False

    def features(self, backbone: Any, batch: Mapping[str, Any]) -> list[Tensor]:
        """One tensor (num_image_tokens, hidden) for each of B images.

        Args:
            backbone: from :func:`backbone_of`.
            batch: as ``collate.stack_inputs`` makes it: image_grid_thw (B, 3); pixel_values (patches of the images
                that were not found, 1176) and image_features (tokens of the others, hidden, or 0 where this process
                holds them), each where there are any; with a cache is_cached (B,) bool and image_keys (B, 16) uint8.
        """
        import torch

        grids, is_cached, patches = batch["image_grid_thw"], batch.get("is_cached"), batch.get("pixel_values")
        if is_cached is None:
            return list(self._encode(backbone, patches, grids))
        keys = [key.tobytes() for key in batch["image_keys"].cpu().numpy()]
        known = self._known(batch, keys)
        missing = [index for index, features in enumerate(known) if features is None]
        if patches is not None and len(missing) < int((~is_cached).sum()):
            brought = dict(
                zip((~is_cached).nonzero().flatten().tolist(), _split(patches, grids[~is_cached], 1), strict=True)
            )
            patches = torch.cat([brought[index] for index in missing]) if missing else None
        for index, new in zip(missing, self._encode(backbone, patches, grids[missing]), strict=True):
            known[index] = new
            if self.cache:
                self.cache.put(keys[index], new)
        return [features for features in known if features is not None]

    def _known(self, batch: Mapping[str, Any], keys: Sequence[bytes]) -> list[Tensor | None]:
        """The features of each image that came with the batch or that this process holds by now."""
        grids, is_cached = batch["image_grid_thw"], batch["is_cached"]
        carried = _split(batch.get("image_features"), grids[is_cached], PATCHES_PER_TOKEN)
        known: list[Tensor | None] = []
        for key, cached, grid in zip(keys, is_cached.tolist(), grids, strict=True):
            features = next(carried) if cached else None
            if self.cache and (features is None or not features.shape[-1]):
                features = self.cache.get(key, int(grid.prod()) // PATCHES_PER_TOKEN)
                features = None if features is None else features.to(grids.device)
            known.append(features)
        return known

    def _encode(self, backbone: Any, patches: Any, grids: Tensor) -> Iterator[Tensor]:
        """What the tower and the projector make of images, some of them at a time; patches are None where there are none."""
        import torch

        counts = grids.prod(-1).tolist()
        if patches is not None:
            self.live += len(grids)
            if backbone.visual.device != patches.device:
                backbone.visual.to(patches.device)
        # a matrix product on a CPU rounds by its size and threads: kept features must not tell who was encoded beside
        alone = self.cache is not None and grids.device.type == "cpu"
        most = 1 if alone else PATCHES_AT_A_TIME
        if self.together and not self.frozen:  # the backward pass meets the tower as often as the forward pass
            most = sum(counts)
        runs = list(_runs(counts, most)) if counts else []
        # asked before the first run, in which the ranks wait for each other
        others = greatest(len(runs))[0] - len(runs) if self.together else 0
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            for start, end in runs:
                these = patches[sum(counts[:start]) : sum(counts[:end])]
                yield from backbone.get_image_features(these, grids[start:end], return_dict=True).pooler_output
            for _ in range(others):
                _encode_nothing(backbone, grids)


def _encode_nothing(backbone: Any, grids: Tensor) -> None:
    """Run the tower as other ranks do, on as few patches as it takes."""
    import torch

    vision = backbone.config.vision_config
    width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    patches = torch.zeros(PATCHES_PER_TOKEN, width, device=grids.device)
    backbone.get_image_features(patches, grids.new_tensor([[1, 2, 2]]), return_dict=True)


def encoder_for(model: Any, cache: VisionCache | None) -> VisionEncoder:
    """The encoder that fills a cache, and records a gradient where tower or projector are trained."""
    frozen = not any(parameter.requires_grad for parameter in backbone_of(model).visual.parameters())
    return VisionEncoder(cache, frozen)


def _split(rows: Tensor | None, grids: Tensor, patches_per_row: int) -> Iterator[Tensor]:
    """The rows of each image, patches or tokens, of those of all images."""
    import torch

    return iter(() if rows is None else torch.split(rows, (grids.prod(-1) // patches_per_row).tolist()))


def _runs(counts: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """(start, end) of runs of ``counts`` that sum to at most ``most``, or hold one alone."""
    start = total = 0
    for i, count in enumerate(counts):
        if i > start and total + count > most:
            yield start, i
            start, total = i, 0
        total += count
    yield start, len(counts)


def cache_of_an_earlier_run(model: Any, processor: Glm46VProcessor) -> VisionCache | None:
    """What a run with the same tower left on disk, for whoever reads the same images again."""
    if not any(cache_home().glob("*/")):
        return None
    directory = cache_home() / fingerprint(backbone_of(model).visual, processor)
    if not directory.is_dir():
        return None
    logger.info("image features: those of an earlier run in %s are used", directory)
    return VisionCache(directory.name, DiskStore(directory, SHARE_OF_FREE * shutil.disk_usage(directory).free))
