"""A shuffled order of which any part can be computed by itself: memory does not grow with what is shuffled.

A Feistel network mixes the two digits of a number in turns; each round can be undone, so no two numbers meet. Numbers
that leave the range go through the network again until they are back (cycle walking: Black and Rogaway, "Ciphers with
Arbitrary Finite Domains", 2002).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Permutation", "hashes"]

_ROUNDS: Final = 16
"""With 8, orders of five numbers are not equally likely; with 16 they are."""


class Permutation:
    """The numbers from 0 to ``size`` - 1 in an order that depends on a key.

    Args:
        size: How many there are.
        key: Numbers from 0 on.
    """

    def __init__(self, size: int, key: Sequence[int]) -> None:
        self._size = size
        self._base = np.uint64(math.isqrt(max(size - 1, 0)) + 1)
        self._high = np.uint64(-(-size // int(self._base)) or 1)
        self._keys = np.random.SeedSequence(key).generate_state(_ROUNDS, np.uint64)

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers at some places of the order."""
        numbers = self._mix(places.astype(np.uint64))
        while (outside := numbers >= self._size).any():
            numbers[outside] = self._mix(numbers[outside])
        return numbers.astype(np.int64)

    def _mix(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        high, low = np.divmod(numbers, self._base)
        for round_key in self._keys.reshape(-1, 2):
            low = _turned(low, hashes(high, round_key[0]), self._base)
            high = _turned(high, hashes(low, round_key[1]), self._high)
        mixed: NDArray[np.uint64] = high * self._base + low
        return mixed


def _turned(digit: NDArray[np.uint64], by: NDArray[np.uint64], base: np.uint64) -> NDArray[np.uint64]:
    """Add random bits to a digit, modulo its base, which is below 2^32; without a division, which is slow."""
    turned = digit + ((by >> np.uint64(32)) * base >> np.uint64(32))
    return np.minimum(turned, turned - base)  # an unsigned number below the base wraps round to a huge one


def hashes(numbers: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """Return 64 bits for each number and ``key`` that look random (the finalizer of SplitMix64, Steele et al. 2014)."""
    bits = numbers * np.uint64(0x9E3779B97F4A7C15) + key
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = bits ^ (bits >> np.uint64(31))
    return mixed
