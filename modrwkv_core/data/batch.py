"""Tokenized conversations and packed batches: what a loader hands to the model.

S = sequences, T = tokens of all sequences together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from modrwkv_kernels import CuSeqlens
from torch import Tensor

from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["IGNORE", "Batch", "PlacedMedia", "Sample"]

IGNORE = -100
"""Target of a position that is not supervised."""


@dataclass(frozen=True, slots=True)
class PlacedMedia:
    """A media item and its place in the token stream.

    Attributes:
        modality: Its modality's name.
        item: Tensors and length.
        position: Index of its first placeholder.
        count: Number of placeholders, which the model must fill exactly.
        key: Names the conversation in errors.
        seed: Of the augmentations of its features; None augments nothing.
    """

    modality: str
    item: MediaItem
    position: int
    count: int
    key: str
    seed: int | None = None

    def shifted(self, offset: int) -> PlacedMedia:
        """Return the same item ``offset`` tokens later."""
        return replace(self, position=self.position + offset)


@dataclass(frozen=True, slots=True)
class Sample:
    """One tokenized conversation.

    Attributes:
        key: Names the conversation in errors.
        ids: ``[tokens]``, int64.
        targets: ``[tokens]``, int64: the next id where that is supervised, else :data:`IGNORE`.
        media: In the order of their positions.
        queries: By head, in the order of their positions.
    """

    key: str
    ids: Tensor
    targets: Tensor
    media: tuple[PlacedMedia, ...]
    queries: Mapping[str, tuple[Query, ...]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations packed one after the other; the backbone's state resets where one begins.

    Attributes:
        keys: Names of the conversations.
        ids: ``[1, T]``, int64.
        targets: ``[1, T]``, int64.
        cu_seqlens: Where each conversation lies.
        media: In the order of their positions.
        queries: By head, in the order of their positions.
    """

    keys: tuple[str, ...]
    ids: Tensor
    targets: Tensor
    cu_seqlens: CuSeqlens
    media: tuple[PlacedMedia, ...]
    queries: Mapping[str, tuple[Query, ...]]
