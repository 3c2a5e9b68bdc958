"""Resampling of sound. It needs torchaudio, which is a dependency of the distributions that use it, not of the core."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from torch import Tensor

__all__ = ["resample"]

MAX_DENOMINATOR = 640
"""The filter grows with the denominator; this keeps the ratios of all customary rates exact, and others to 4 ppm."""


def resample(samples: Tensor, rate: int, to: int) -> Tensor:
    """Return ``samples [..., samples]`` at another rate, by torchaudio's windowed sinc.

    Args:
        samples: Of any floating-point dtype.
        rate: Their samples per second.
        to: The samples per second of the result.
    """
    if rate == to:
        return samples
    ratio = Fraction(rate, to).limit_denominator(MAX_DENOMINATOR)
    return _resampler(ratio.numerator, ratio.denominator)(samples)


@lru_cache(maxsize=32)
def _resampler(rate: int, to: int) -> Callable[[Tensor], Tensor]:
    from torchaudio.transforms import Resample

    resampler: Callable[[Tensor], Tensor] = Resample(rate, to)
    return resampler
