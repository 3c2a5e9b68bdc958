"""The order in which an epoch reads records: a pure function of seed, phase and epoch, which needs no saving.

Nothing in here grows with the number of records: any part of the order is computed when it is asked for.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.data.permutation import Permutation, hashes

__all__ = ["EpochOrder", "epoch_size"]

_SEEDS: Final = 2**32
"""More than a manifest can list sources."""


class EpochOrder:
    """The shuffled samples of one epoch.

    Every source is an endless walk round its records in one shuffled order, and an epoch covers ``repeat`` rounds of
    it: with 0.25 the four quarters take turns, with 1.5 every other half comes twice.

    Args:
        sizes: Number of records of each source.
        repeats: Rounds that an epoch makes of each source.
        seed: Of the run.
        phase: Name of the training phase.
        epoch: Counted from 0.

    Attributes:
        seed: Of whatever else an epoch draws.
    """

    def __init__(self, sizes: Sequence[int], repeats: Sequence[float], *, seed: int, phase: str, epoch: int) -> None:
        key = [seed, zlib.crc32(phase.encode())]
        walks = [_walk(size, repeat, epoch) for size, repeat in zip(sizes, repeats, strict=True)]
        self._sizes = sizes
        self._starts = [begin for begin, _ in walks]
        self._bounds = np.cumsum([0, *(end - begin for begin, end in walks)])
        self._rounds = [Permutation(size, [*key, source]) for source, size in enumerate(sizes)]
        self._shuffle = Permutation(len(self), [*key, len(sizes), epoch])
        # The third number above is that of a source or of the sources.
        self.seed = int(np.random.SeedSequence([*key, _SEEDS, epoch]).generate_state(1, np.uint64)[0])

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def records(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the records of some samples, by their places in the order: ``[samples, 2]``, source and record."""
        places = self._shuffle(samples)
        sources = np.searchsorted(self._bounds, places, side="right") - 1
        records = np.empty((len(places), 2), dtype=np.int64)
        for source in np.unique(sources).tolist():
            chosen = sources == source
            walked = self._starts[source] + places[chosen] - self._bounds[source]
            records[chosen, 0] = source
            records[chosen, 1] = self._rounds[source](walked % self._sizes[source])
        return records

    def seeds(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the seeds of some samples, by their places in the order, from 0 to 2^63 - 1."""
        drawn = hashes(samples.astype(np.uint64), np.uint64(self.seed))
        return (drawn >> np.uint64(1)).astype(np.int64)


def epoch_size(sizes: Sequence[int], repeats: Sequence[float], epoch: int) -> int:
    """Count the samples of one epoch."""
    walks = [_walk(size, repeat, epoch) for size, repeat in zip(sizes, repeats, strict=True)]
    return sum(end - begin for begin, end in walks)


def _walk(size: int, repeat: float, epoch: int) -> tuple[int, int]:
    return math.floor(epoch * repeat * size), math.floor((epoch + 1) * repeat * size)
