"""A token stream while it is being written: ids, what is supervised, and the places of media and queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from modrwkv_core.data.augmenting import Draw
from modrwkv_core.data.batch import IGNORE, PlacedMedia, Sample
from modrwkv_core.data.recent_media import RecentMedia
from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.tokenizer import SpecialIds
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["Segment", "TokenStream"]


@dataclass(frozen=True, slots=True)
class Segment(Sample):
    """A part of a prompt.

    Attributes:
        is_last: Whether the prompt ends with it.
    """

    is_last: bool


@dataclass(slots=True)
class TokenStream:
    """A token stream while it is being written.

    Attributes:
        key: Of the record.
        draw: The randomness of its augmentations; None augments nothing.
        recent: Media that need not be decoded again; None decodes each.
        ids: Written so far.
        supervised: Whether a token head learns each of them.
        media: Placed so far.
        queries: By head.
        signals: By modality, what gives the latest signal.
        targets: By modality, what its augmented targets are.
        media_bytes: What the tensors of ``media`` take.
    """

    key: str
    draw: Draw | None = None
    recent: RecentMedia | None = None
    ids: list[int] = field(default_factory=list)
    supervised: list[bool] = field(default_factory=list)
    media: list[PlacedMedia] = field(default_factory=list)
    queries: dict[str, list[Query]] = field(default_factory=dict)
    signals: dict[str, Callable[[], Any]] = field(default_factory=dict)
    targets: dict[str, Iterator[Any]] = field(default_factory=dict)
    media_bytes: int = 0

    def write(self, ids: Sequence[int], supervised: bool = False) -> None:
        """Append ids."""
        self.ids.extend(ids)
        self.supervised.extend([supervised] * len(ids))

    def place(self, modality: str, item: MediaItem, count: int, special: SpecialIds, seed: int | None = None) -> None:
        """Append a medium of ``count`` vectors between its markers."""
        self.media.append(PlacedMedia(modality, item, len(self.ids) + 1, count, self.key, seed))
        self.write([special.media_start, *[special.media_pad] * count, special.media_end])
        self.media_bytes += sum(tensor.nbytes for tensor in item.tensors.values())

    def take_segment(self, *, is_last: bool = False) -> Segment:
        """Return what was written since the segment before."""
        sample = self.sample()
        segment = Segment(sample.key, sample.ids, sample.targets, sample.media, sample.queries, is_last)
        self.ids, self.supervised, self.media, self.media_bytes = [], [], [], 0
        return segment

    def sample(self) -> Sample:
        """Return what was written, with the targets of token heads."""
        ids = torch.tensor(self.ids, dtype=torch.int64)
        targets = torch.full_like(ids, IGNORE)
        targets[:-1] = torch.where(torch.tensor(self.supervised[1:], dtype=torch.bool), ids[1:], IGNORE)
        queries = {head: tuple(queries) for head, queries in self.queries.items()}
        return Sample(self.key, ids, targets, tuple(self.media), queries)
