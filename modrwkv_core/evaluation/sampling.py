"""Which records of a data set are looked at."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from modrwkv_core.interfaces.record import Record
from modrwkv_core.interfaces.task import Records

__all__ = ["Subset", "batches", "draw"]


def draw(population: int, count: int) -> list[int]:
    """Return ``count`` of the indices below ``population`` in order, or all; always the same ones.

    A random draw, unlike every n-th record, cannot fall into step with the order of a data set.
    """
    return sorted(random.Random(0).sample(range(population), min(count, population)))


class Subset:
    """Some records of a data set."""

    def __init__(self, records: Records, indices: Sequence[int]) -> None:
        self._records = records
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Record:
        return self._records[self._indices[index]]


def batches(records: Records, size: int) -> Iterator[list[Record]]:
    """Yield all records in order, ``size`` at a time; the last batch may be smaller."""
    for start in range(0, len(records), size):
        yield [records[index] for index in range(start, min(start + size, len(records)))]
