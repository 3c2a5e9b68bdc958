"""The order in which an epoch reads records: a pure function of seed, phase and epoch, which needs no saving."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["epoch_order", "epoch_size", "sample_seeds"]

_SEEDS: Final = 2**32
"""More than a manifest can list sources."""


def epoch_order(
    sizes: Sequence[int], repeats: Sequence[float], *, seed: int, phase: str, epoch: int
) -> NDArray[np.int64]:
    """Shuffle the records of one epoch.

    Every source is an endless walk round its records in one shuffled order, and an epoch covers ``repeat`` rounds of
    it: with 0.25 the four quarters take turns, with 1.5 every other half comes twice.

    Args:
        sizes: Number of records of each source.
        repeats: Rounds that an epoch makes of each source.
        seed: Of the run.
        phase: Name of the training phase.
        epoch: Counted from 0.

    Returns:
        ``[records, 2]``: index of the source and of the record in it.
    """
    of_phase = zlib.crc32(phase.encode())
    indices = []
    for source, (size, repeat) in enumerate(zip(sizes, repeats, strict=True)):
        round_trip = np.random.default_rng([seed, of_phase, source]).permutation(size)
        begin, end = _walk(size, repeat, epoch)
        records = round_trip[np.arange(begin, end) % size]
        indices.append(np.stack([np.full_like(records, source), records], axis=1))
    order: NDArray[np.int64] = np.concatenate(indices)
    np.random.default_rng([seed, of_phase, len(sizes), epoch]).shuffle(order)
    return order


def epoch_size(sizes: Sequence[int], repeats: Sequence[float], epoch: int) -> int:
    """Count the records of one epoch without listing them."""
    walks = [_walk(size, repeat, epoch) for size, repeat in zip(sizes, repeats, strict=True)]
    return sum(end - begin for begin, end in walks)


def sample_seeds(count: int, *, seed: int, phase: str, epoch: int) -> NDArray[np.int64]:
    """Return the seed of each sample of one epoch, by its place in the order.

    Args:
        count: Records of the epoch.
        seed: Of the run.
        phase: Name of the training phase.
        epoch: Counted from 0.

    Returns:
        ``[records]``, from 0 to 2^63 - 1.
    """
    # The order draws from other keys: their third number is that of a source or of the sources.
    rng = np.random.default_rng([seed, zlib.crc32(phase.encode()), _SEEDS, epoch])
    return rng.integers(2**63, size=count, dtype=np.int64)


def _walk(size: int, repeat: float, epoch: int) -> tuple[int, int]:
    return math.floor(epoch * repeat * size), math.floor((epoch + 1) * repeat * size)
