"""Lengths of the records of a run's sources: measured by all processes together, and kept for the next run."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.lengths import measure_lengths, refuse_longer
from modrwkv_core.errors import WriteError
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.manifest.lock import make_lock
from modrwkv_core.readers.files import cache_folder
from modrwkv_core.storage.files import atomic_write
from modrwkv_core.training.resume import fingerprint
from modrwkv_core.training.world import World

__all__ = ["RecordLengths"]


class RecordLengths:
    """The number of tokens of each record, by source.

    They are kept in :func:`~modrwkv_core.readers.files.cache_folder`, by all that they depend on: the source's
    settings, files and a sample of its records; tokenizer, chat template and modalities; and versions.

    Args:
        loaded: The manifest.
        world: The processes that measure, each its share.
        progress_bar: Whether to draw a progress bar.
    """

    def __init__(self, loaded: LoadedManifest, world: World, *, progress_bar: bool) -> None:
        self._loaded = loaded
        self._world = world
        self._progress_bar = progress_bar
        self._lengths: dict[int, NDArray[np.uint32]] = {}

    def of(self, source: Source[Any]) -> NDArray[np.uint32]:
        """Return the lengths of a source that was added: ``[records]``."""
        return self._lengths[id(source)]

    def add(self, source: Source[Any], encoder: ConversationEncoder, limit: int | None) -> None:
        """Measure the records of ``source``, or read what an earlier run measured. All processes call this together.

        Raises:
            DataError: A record is broken, or longer than ``limit``, and ``data.on_error`` does not skip it.
            PeerError: Another process failed.
        """
        data = self._loaded.manifest.data
        if id(source) not in self._lengths:
            self._lengths[id(source)] = self._read_or_measure(source, encoder)
        if limit is not None and data.on_error == "fail":
            refuse_longer(source, self.of(source), limit)

    def _read_or_measure(self, source: Source[Any], encoder: ConversationEncoder) -> NDArray[np.uint32]:
        data, world = self._loaded.manifest.data, self._world
        path = self._path(source)
        known: NDArray[np.uint32] | None
        known, *_ = world.gather(self._read(path, len(source)) if world.is_main else None)
        # Lengths of 0 stand for records that were broken, and that may have been repaired.
        if known is not None and (data.on_error == "skip" or known.all()):
            return known
        records = range(world.rank, len(source), world.size)
        own = measure_lengths(
            source,
            encoder,
            records=records,
            workers=data.workers,
            on_error=data.on_error,
            progress_bar=self._progress_bar,
        )
        lengths = np.empty(len(source), dtype=np.uint32)
        for rank, measured in enumerate(world.gather(own)):
            lengths[rank :: world.size] = measured
        if world.is_main:
            self._write(path, lengths)
        return lengths

    def _path(self, source: Source[Any]) -> Path:
        manifest, lock = self._loaded.manifest, make_lock(self._loaded)
        settings = source.config.model_dump()
        stats = [value.stat() for value in settings.values() if isinstance(value, Path) and value.is_file()]
        key = [
            source.config.model_dump(mode="json"),
            [(stat.st_size, stat.st_mtime_ns) for stat in stats],
            fingerprint(source).sample,
            manifest.tokenizer.model_dump(mode="json"),
            manifest.chat_template,
            {
                name: [component.model_dump(mode="json") for _, component in section.components()]
                for name, section in manifest.modalities.items()
            },
            lock["components"],
            lock["packages"],
        ]
        return cache_folder() / "lengths" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.npy"

    @staticmethod
    def _read(path: Path, count: int) -> NDArray[np.uint32] | None:
        if not path.exists():
            return None
        try:
            lengths = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is damaged and measured again: {error}", stacklevel=2)
            return None
        return lengths if lengths.shape == (count,) and lengths.dtype == np.uint32 else None

    @staticmethod
    def _write(path: Path, lengths: NDArray[np.uint32]) -> None:
        try:
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                np.save(file, lengths, allow_pickle=False)
        except WriteError as error:
            warnings.warn(f"the next run has to measure lengths again: {error.message}", stacklevel=2)
