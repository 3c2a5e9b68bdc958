"""Random access to the rows of a dataset, as plain Python values; nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import datasets
from datasets.packaged_modules.parquet.parquet import ParquetConfig

from modrwkv_core.errors import DataError
from modrwkv_hf_datasets.config import HfDatasetConfig
from modrwkv_hf_datasets.streamed import StreamedRows

__all__ = ["LoadedRows", "Rows", "open_rows"]

_BUILDERS: Final = {".arrow": "arrow", ".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


class Rows(Protocol):
    """Rows by number. Picklable."""

    @property
    def features(self) -> Mapping[str, Any]:
        """Columns and their types."""

    def __len__(self) -> int: ...

    def key(self, index: int) -> str:
        """Say where a row is found."""

    def __getitem__(self, index: int) -> dict[str, Any]: ...


class LoadedRows:
    """Rows of a dataset in Arrow files on this machine.

    Args:
        dataset: The dataset.
        name: What to call it in messages.
    """

    def __init__(self, dataset: datasets.Dataset, name: str) -> None:
        self.features: Mapping[str, Any] = dataset.features
        self._dataset = dataset.with_format("arrow")
        self._name = name

    def __len__(self) -> int:
        return len(self._dataset)

    def key(self, index: int) -> str:
        """Say where a row is found."""
        return f"{self._name}: row {index}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self._dataset[index].to_pylist()[0]
        return row


def open_rows(config: HfDatasetConfig) -> Rows:
    """Open what the configuration names.

    Raises:
        DataError: It is missing, damaged, or has no such split.
    """
    where = str(config.path or config.hub or config.url)
    if config.path is not None and not config.path.exists() and "*" not in config.path.name:
        raise DataError(f"{config.path} does not exist", hint="relative paths are resolved against `data_root`")
    try:
        if config.streaming:
            return StreamedRows(_files(config), int(config.cache_gib * 2**30))
        return LoadedRows(_load(config), f"{where}[{config.split}]")
    except DataError:
        raise
    except Exception as error:  # readers of many formats, and the network, fail in many ways
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise DataError(
            f"cannot load {where}, split {config.split!r}: {reason}", hint="check path and split"
        ) from error


def _load(config: HfDatasetConfig) -> datasets.Dataset:
    if config.path is not None and (config.path / "dataset_dict.json").is_file():
        splits = datasets.load_from_disk(str(config.path))
        if config.split not in splits:
            raise DataError(
                f"{config.path} has no split {config.split!r}", hint=f"it has: {', '.join(map(str, splits))}"
            )
        return splits[config.split]
    if config.path is not None and (config.path / "state.json").is_file():
        dataset = datasets.load_from_disk(str(config.path))
        if dataset.split is not None and str(dataset.split) != config.split:
            raise DataError(f"{config.path} is the split {str(dataset.split)!r}, not {config.split!r}")
        return dataset
    return datasets.load_dataset(**_arguments(config), split=config.split)


def _files(config: HfDatasetConfig) -> Sequence[str]:
    """List the Parquet files of the split, as `datasets` finds them."""
    if config.path is not None and any((config.path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        raise DataError(f"{config.path} is on this machine as Arrow files", hint="remove `streaming`")
    builder = datasets.load_dataset_builder(**_arguments(config))
    files = builder.config.data_files or {}
    if not isinstance(builder.config, ParquetConfig):
        raise DataError(
            f"{config.path or config.hub or config.url} holds no Parquet files", hint="only these can be streamed"
        )
    if config.split not in files:
        raise DataError(
            f"{config.path or config.hub or config.url} has no split {config.split!r}",
            hint=f"it has: {', '.join(map(str, files))}",
        )
    return [str(file) for file in files[config.split]]


def _arguments(config: HfDatasetConfig) -> dict[str, Any]:
    where = str(config.path or config.hub or config.url)
    if config.hub is None and not (config.path is not None and config.path.is_dir()):
        suffix = Path(where).suffix.lower()
        if suffix not in _BUILDERS:
            raise DataError(f"{where} has an unknown ending", hint=f"known are {', '.join(_BUILDERS)}")
        return {"path": _BUILDERS[suffix], "data_files": {config.split.partition("[")[0]: where}}
    return {"path": where, "name": config.name, "revision": config.revision}
