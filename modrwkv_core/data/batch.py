"""Tokenized conversations and packed batches: what a loader hands to the model.

S = sequences, T = tokens of all sequences together, n = supervised positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
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
        supervised: ``[n]``, int64: the positions whose next token is supervised.
        labels: ``[n]``, int64: these next tokens.
        cu_seqlens: Where each conversation lies.
        media: In the order of their positions.
        media_positions: By modality, ``[placeholders]``, int64: their positions.
        transcripts: For each medium, where the words that follow it lie among ``labels``: begin and end, exclusive.
            They are those of its conversation before the next medium, and may be none.
        queries: By head, in the order of their positions.
        query_positions: By head, ``[queries]``, int64.
        arena: The block of memory that the tensors lie in, uint8; None if they lie apart.
    """

    keys: tuple[str, ...]
    ids: Tensor
    supervised: Tensor
    labels: Tensor
    cu_seqlens: CuSeqlens
    media: tuple[PlacedMedia, ...]
    media_positions: Mapping[str, Tensor]
    transcripts: tuple[tuple[int, int], ...]
    queries: Mapping[str, tuple[Query, ...]]
    query_positions: Mapping[str, Tensor]
    arena: Tensor | None = None

    def transcribed(self, modality: str) -> list[tuple[PlacedMedia, slice]]:
        """Return the media of a modality that words follow, and which of ``labels`` these are."""
        pairs = zip(self.media, self.transcripts, strict=True)
        return [(placed, slice(*span)) for placed, span in pairs if placed.modality == modality and span[0] < span[1]]

    def to(self, device: torch.device | str) -> Self:
        """Return the batch with its tensors on ``device``; those in the arena are copied as one.

        Copies from pinned memory are asynchronous. Signals and targets of queries stay where they are, and so does the
        host's copy of ``cu_seqlens``.
        """
        if self.ids.device == torch.device(device):
            return self
        here = self.arena
        there = None if here is None else here.to(device, non_blocking=True)

        def move(tensor: Tensor) -> Tensor:
            if here is None or there is None or tensor.untyped_storage().data_ptr() != here.data_ptr():
                return tensor.to(device, non_blocking=True)
            begin = tensor.storage_offset() * tensor.element_size()
            return there[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)

        cu_seqlens = self.cu_seqlens
        forms = (cu_seqlens.device, cu_seqlens.first, cu_seqlens.last, cu_seqlens.sequence_starts)
        return replace(
            self,
            ids=move(self.ids),
            supervised=move(self.supervised),
            labels=move(self.labels),
            cu_seqlens=CuSeqlens(cu_seqlens.host, *map(move, forms)),
            media=tuple(replace(placed, item=placed.item.map(move)) for placed in self.media),
            media_positions={name: move(positions) for name, positions in self.media_positions.items()},
            query_positions={name: move(positions) for name, positions in self.query_positions.items()},
            arena=there,
        )
