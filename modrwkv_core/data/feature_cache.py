"""Features of frozen encoders on disk, found by the content of media: no decoding, no processing, no encoding again.

An entry is one file: the BLAKE2b digest of the rest, then features, length and grids in safetensors' format. Entries
appear whole or not at all, so any number of processes may read and write.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from modrwkv_core.data.media_digest import DIGEST_SIZE, media_digest
from modrwkv_core.interfaces.grids import GridLength, grids_of
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.storage.files import temporary_name

__all__ = ["CacheableItem", "FeatureCache", "cacheable", "cached_features"]

_FILLED: Final = 0.9
"""Share of the space that stays in use when entries are removed."""

_SCANS: Final = 16
"""How often a process looks at the space that all use, while it fills the whole of it."""


@dataclass(frozen=True, slots=True)
class CacheableItem(MediaItem):
    """A medium whose features are cached, or will be.

    Attributes:
        digest: Names its entry.
        features: ``[length, dim]``, of the encoder; without tensors then. None if they are not in the cache.
    """

    digest: str
    features: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> CacheableItem:
        """Return the item with ``function`` applied to each tensor."""
        tensors = {name: function(tensor) for name, tensor in self.tensors.items()}
        features = None if self.features is None else function(self.features)
        return CacheableItem(tensors, self.length, self.digest, features)


def cached_features(item: MediaItem) -> Tensor | None:
    """Return the features of an item that were in the cache, ``[length, dim]``."""
    return item.features if isinstance(item, CacheableItem) else None


class FeatureCache:
    """Features of one encoder in one state. Picklable, for loader workers, which read; the trainer writes.

    Args:
        folder: Holds the entries of all encoders.
        max_bytes: Once entries are larger together, those that were not used for longest are removed. Several processes
            may exceed it by a sixteenth each.
        key: Names all that features depend on beside the medium: encoder, weights, dtype, versions.
    """

    def __init__(self, folder: Path, max_bytes: int, key: str) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._key = key.encode()
        self._space: int | None = None

    def digest(self, media: Any) -> str | None:
        """Name the entry of a medium as a record holds it; None if its content cannot be told, and is not cached."""
        return media_digest(media, self._key)

    def read(self, digest: str) -> CacheableItem | None:
        """Return the item with its features; None if there is no entry, or, with a warning, a damaged one."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        try:
            if hashlib.blake2b(content[DIGEST_SIZE:], digest_size=DIGEST_SIZE).digest() != content[:DIGEST_SIZE]:
                raise ValueError("its digest is another")
            tensors = load(content[DIGEST_SIZE:])
            return CacheableItem({}, _length(tensors), digest, tensors["features"])
        except (KeyError, ValueError, SafetensorError) as error:
            warnings.warn(f"{path} is damaged, and its features are computed again: {error}", stacklevel=2)
            return None

    def write(self, item: CacheableItem, features: Tensor) -> None:
        """Keep the features of an item, ``[length, dim]``, on the CPU. With a full disk, warn and keep no more."""
        tensors = {"features": features.contiguous(), "length": torch.tensor(item.length)}
        grids = grids_of(item.length)
        if grids is not None:
            tensors["grids"] = torch.tensor(grids, dtype=torch.int64).reshape(-1, 2)
        content = save(tensors)
        content = hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest() + content
        if len(content) > self._max_bytes:
            return
        path = self._path(item.digest)
        temporary = path.with_name(temporary_name())
        try:
            if self._space is None or len(content) > self._space:
                self._space = self._make_room(len(content))
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Without waiting for the disk: what a crash leaves of it is recognized.
                temporary.write_bytes(content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"features cannot be kept in {self._folder}: {error.strerror}", stacklevel=2)
            self._max_bytes = 0
        else:
            self._space -= len(content)

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest[2:]

    def _make_room(self, needed: int) -> int:
        """Remove the oldest entries if need be; return how much this process may write before it looks again."""
        entries = []
        for path in self._folder.glob("*/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process removed it
                continue
            entries.append((status.st_mtime_ns, status.st_size, path))
        used = sum(size for _, size, _ in entries)
        if used + needed > self._max_bytes:
            for _, size, path in sorted(entries):
                if used + needed <= _FILLED * self._max_bytes:
                    break
                path.unlink(missing_ok=True)
                used -= size
        return max(needed, min(self._max_bytes - used, self._max_bytes // _SCANS))


def cacheable(
    parts: Iterable[MediaItem | Text | Media], cache: FeatureCache, digest: str, *, divided: bool
) -> Iterator[MediaItem | Text | Media]:
    """Yield the parts of a medium, with their features if these are cached.

    Args:
        parts: What stands for it in the token stream.
        cache: That of its modality.
        digest: Names its entry.
        divided: Whether there may be several parts, each with an entry of its own.
    """
    for number, part in enumerate(parts):
        if not isinstance(part, MediaItem):
            yield part
            continue
        own, cached = digest, None
        if divided:
            own = hashlib.blake2b(f"{digest}|{number}".encode(), digest_size=DIGEST_SIZE).hexdigest()
            cached = cache.read(own)
        yield CacheableItem(part.tensors, part.length, own) if cached is None else cached


def _length(tensors: Mapping[str, Tensor]) -> int:
    if "grids" in tensors:
        return GridLength(*((rows, columns) for rows, columns in tensors["grids"].tolist()))
    return int(tensors["length"])
