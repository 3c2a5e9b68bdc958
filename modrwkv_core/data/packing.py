"""Packing: conversations one after the other in one long row, instead of padding each to the longest.

The backbone's state resets at the boundaries, so that no conversation knows its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from modrwkv_kernels import CuSeqlens

from modrwkv_core.data.batch import Batch, PlacedMedia, Sample
from modrwkv_core.interfaces.component import Query

__all__ = ["pack"]


def pack(samples: Sequence[Sample]) -> Batch:
    """Lay ``samples``, at least one, one after the other and shift the positions of their media and queries."""
    bounds = [0, *accumulate(len(sample.ids) for sample in samples)]
    media: list[PlacedMedia] = []
    queries: dict[str, list[Query]] = {}
    for offset, sample in zip(bounds, samples, strict=False):
        media.extend(item.shifted(offset) for item in sample.media)
        for head, asked in sample.queries.items():
            shifted = [replace(query, position=query.position + offset) for query in asked]
            queries.setdefault(head, []).extend(shifted)
    return Batch(
        keys=tuple(sample.key for sample in samples),
        ids=torch.cat([sample.ids for sample in samples])[None],
        targets=torch.cat([sample.targets for sample in samples])[None],
        cu_seqlens=CuSeqlens.of(bounds),
        media=tuple(media),
        queries={head: tuple(asked) for head, asked in queries.items()},
    )
