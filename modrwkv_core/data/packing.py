"""Packing: conversations one after the other in one long row, instead of padding each to the longest.

The backbone's state resets at the boundaries, so that no conversation knows its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor

from modrwkv_core.data.batch import IGNORE, Batch, PlacedMedia, Sample
from modrwkv_core.interfaces.component import Query

__all__ = ["pack"]


def pack(samples: Sequence[Sample]) -> Batch:
    """Lay ``samples``, at least one, one after the other and shift the positions of their media and queries."""
    bounds = [0, *accumulate(len(sample.ids) for sample in samples)]
    media: list[PlacedMedia] = []
    ends: list[int] = []
    queries: dict[str, list[Query]] = {}
    for offset, sample in zip(bounds, samples, strict=False):
        media.extend(item.shifted(offset) for item in sample.media)
        ends.extend(item.position + offset for item in sample.media[1:])
        ends.extend([offset + len(sample.ids)] if sample.media else [])
        for head, asked in sample.queries.items():
            shifted = [replace(query, position=query.position + offset) for query in asked]
            queries.setdefault(head, []).extend(shifted)
    targets = torch.cat([sample.targets for sample in samples])
    supervised = (targets != IGNORE).nonzero()[:, 0]
    return Batch(
        keys=tuple(sample.key for sample in samples),
        ids=torch.cat([sample.ids for sample in samples])[None],
        supervised=supervised,
        labels=targets[supervised],
        cu_seqlens=CuSeqlens.of(bounds),
        media=tuple(media),
        media_positions=_media_positions(media),
        transcripts=_transcripts(media, ends, supervised),
        queries={head: tuple(asked) for head, asked in queries.items()},
        query_positions={head: torch.tensor([query.position for query in asked]) for head, asked in queries.items()},
    )


def _media_positions(media: Sequence[PlacedMedia]) -> dict[str, Tensor]:
    positions: dict[str, list[Tensor]] = {}
    for placed in media:
        own = torch.arange(placed.position, placed.position + placed.count)
        positions.setdefault(placed.modality, []).append(own)
    return {name: torch.cat(each) for name, each in positions.items()}


def _transcripts(media: Sequence[PlacedMedia], ends: Sequence[int], supervised: Tensor) -> tuple[tuple[int, int], ...]:
    """Return the range of ``supervised`` from each medium to its end: the next medium, or that of its conversation."""
    begins = torch.tensor([placed.position for placed in media], dtype=torch.int64)
    bounds = torch.searchsorted(supervised, torch.stack([begins, torch.tensor(ends, dtype=torch.int64)]))
    return tuple(zip(*bounds.tolist(), strict=True))
