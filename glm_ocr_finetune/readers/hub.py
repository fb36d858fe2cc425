"""Data sets of the Hugging Face hub, or of its local cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..network import hub_answers
from .arrow_tables import Origin, restructure
from .columns import find_layout, kinds_of_features
from .rows import ReadOptions

if TYPE_CHECKING:
    from datasets import Dataset

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def is_hub_id(name: str) -> bool:
    """Whether a name could be that of a hub data set: ``owner/name`` or ``name``."""
    return _HUB_ID.fullmatch(name) is not None


def check_reachable(name: str) -> None:
    """Raise ``UserError`` for a data set that is not in the cache while the hub cannot be reached; imports little."""
    from huggingface_hub.constants import ENDPOINT, HF_HOME, HF_HUB_CACHE

    if hub_answers(ENDPOINT):
        return
    prepared = Path(os.environ.get("HF_DATASETS_CACHE", Path(HF_HOME) / "datasets"))
    owner = name.split("/")[0].lower()
    is_prepared = prepared.is_dir() and any(entry.name.lower().startswith(owner) for entry in prepared.iterdir())
    if not is_prepared and not (Path(HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}").is_dir():
        raise UserError(_not_found(name, ConnectionError(f"{ENDPOINT} cannot be reached")))


def read_hub_split(name: str, split: str, options: ReadOptions) -> Dataset:
    """The rows of one split (slices such as ``train[:100]`` too). Raises ``UserError`` when it cannot be had."""
    import datasets

    with _explained(name, options.config):
        table = datasets.load_dataset(name, options.config, split=split)
    _check_images_are_there(table, options, name)
    return restructure(table, options, Origin(name, split, _cache_folders()))


def builder_of(name: str, config: str | None) -> Any:
    """What ``datasets`` would read a hub data set with; it knows its files. Raises ``UserError`` when it cannot be had."""
    import datasets

    with _explained(name, config):
        return datasets.load_dataset_builder(name, config)


def hub_splits(name: str, config: str | None) -> list[str]:
    """The names of a hub data set's splits. Raises ``UserError`` when it cannot be had."""
    import datasets

    with _explained(name, config):
        return list(datasets.get_dataset_split_names(name, config))


@contextmanager
def _explained(name: str, config: str | None) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    try:
        with _offline_without_network():
            yield
    except (ConnectionError, DatasetNotFoundError, FileNotFoundError) as error:
        raise UserError(_not_found(name, error)) from error
    except (ValueError, RuntimeError, OSError, DatasetGenerationError) as error:
        raise UserError(f"data set {name!r} (--dataset_config {config}): {_one_line(error)}") from error


def _not_found(name: str, error: Exception) -> str:
    return (
        f"no data set {name!r}: there is no such file or folder, and the Hugging Face hub did not yield it "
        f"({_one_line(error)}). With a network, `hf download --repo-type dataset {name} --local-dir DIR` fetches it "
        f"(`hf auth login` first when it is gated); then use --dataset_name DIR."
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


@contextmanager
def _offline_without_network() -> Iterator[None]:
    """Let the client use its cache at once when the hub does not answer, rather than retry for minutes."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not hub_answers(datasets.config.HF_ENDPOINT)
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _check_images_are_there(table: Dataset, options: ReadOptions, name: str) -> None:
    """Raise ``UserError`` when the table only names image files, which loading it does not fetch."""
    column = find_layout(kinds_of_features(table.features), options, name).image
    if column is None:
        return
    cells = [table.features[column], getattr(table.features[column], "feature", None)]
    if options.image_folder is None and any(
        getattr(cell, "dtype", None) in ("string", "large_string") for cell in cells
    ):
        raise UserError(
            f"{name} names image files in its column {column!r} but does not hold them. Fetch all of it with "
            f"`hf download --repo-type dataset {name} --local-dir DIR`, then use --dataset_name DIR."
        )


def _cache_folders() -> tuple[str, ...]:
    """The folders that hold whatever the hub's client has fetched."""
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    return str(datasets.config.HF_DATASETS_CACHE), str(HF_HUB_CACHE)
