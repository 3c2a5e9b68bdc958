"""Media that were processed lately, so that those that are shown again are not decoded again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch

from modrwkv_core.data.media_digest import DIGEST_SIZE, media_digest
from modrwkv_core.interfaces.grids import grids_of
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["RecentItem", "RecentMedia", "item_digest"]


@dataclass(frozen=True, slots=True)
class RecentItem(MediaItem):
    """A processed medium that is remembered.

    Attributes:
        digest: See :func:`item_digest`.
    """

    digest: bytes


class RecentMedia:
    """Processed media of one model, by the content of what they were made of. Thread-safe.

    Once their tensors take more than ``max_bytes``, those that were not used for longest are forgotten.

    Args:
        max_bytes: Bytes of tensors; 0 remembers nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: OrderedDict[str, RecentItem] = OrderedDict()  # the one that was used last at the end
        self._bytes = 0
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of tensors that are held."""
        return self._bytes

    def item(self, modality: str, media: Any, make: Callable[[], MediaItem]) -> MediaItem:
        """Return what a medium is to its encoder.

        Args:
            modality: Whose processor makes it.
            media: As a record holds it. If its content cannot be told, it is made anew each time.
            make: Decodes and processes it. What it raises is raised, and nothing is remembered.
        """
        key = media_digest(media, modality.encode()) if self._max_bytes else None
        if key is None:
            return make()
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        made = make()
        item = RecentItem(made.tensors, made.length, item_digest(made))
        nbytes = _nbytes(item)
        with self._lock:
            if key not in self._items and nbytes <= self._max_bytes:
                self._items[key] = item
                self._bytes += nbytes
                while self._bytes > self._max_bytes:
                    self._bytes -= _nbytes(self._items.popitem(last=False)[1])
        return item


def item_digest(item: MediaItem) -> bytes:
    """Return a digest of all that an encoder sees of an item: its tensors and its length."""
    if isinstance(item, RecentItem):
        return item.digest
    digest = hashlib.blake2b(f"{item.length}|{grids_of(item.length)}".encode(), digest_size=DIGEST_SIZE)
    for name, tensor in sorted(item.tensors.items()):
        digest.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def _nbytes(item: MediaItem) -> int:
    return sum(tensor.nbytes for tensor in item.tensors.values())
