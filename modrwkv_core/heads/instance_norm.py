"""Instance normalization: every series is read and continued in units of its own.

N = series, C = channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modrwkv_core.interfaces.signals import TimeSeries

__all__ = ["InstanceNorm", "Statistics"]

RESOLUTION = 1e-6
"""Variation below this share of a channel's largest value is rounding of float32, not signal."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Origin and unit of each series.

    Attributes:
        location: ``[N, 1, C]``, float32.
        scale: ``[N, 1, C]``, float32, not negative; 0 for a constant channel of no known spread, which has no unit.
    """

    location: Tensor
    scale: Tensor

    @property
    def constant(self) -> Tensor:
        """``[N, 1, C]``: true where a channel has no unit."""
        return self.scale == 0.0

    def normalize(self, values: Tensor) -> Tensor:
        """Return ``values [N, points, C]`` in units of their series; constant channels are only shifted."""
        return (values - self.location) / self.scale.masked_fill(self.constant, 1.0)

    def denormalize(self, values: Tensor) -> Tensor:
        """Return ``values [N, points, C]`` in the units of the input; in constant channels, the constant."""
        return values * self.scale + self.location


class InstanceNorm(nn.Module):
    """Statistics of series, and a learned scale and shift of each channel that are saved with the weights.

    The unit of a series is its standard deviation, and at least a share of the spread that comes with it. The points
    that follow a nearly constant window can lie hundreds of its deviations away; squared, a few such windows would
    outweigh all others. Unlike RevIN's epsilon, the floor is in the units of the input: a forecast of a series times a
    constant is the forecast times that constant.

    Args:
        channels: C.
        origin: Whether values are measured from the mean of a series or from its last point.
        floor: Least unit, as a share of the spread of the long series.

    Source: RevIN, Kim et al., ICLR 2022; the last point as origin: NLinear, Zeng et al., arXiv 2205.13504.
    """

    def __init__(self, channels: int, origin: Literal["mean", "last"], floor: float) -> None:
        super().__init__()
        self.origin = origin
        self.floor = floor
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor) -> Tensor:
        """Apply the learned scale and shift to normalized ``values [..., C]``."""
        return values * self.gain + self.bias

    def statistics(self, series: Sequence[TimeSeries]) -> Statistics:
        """Take the statistics of ``series``, each finite and ``[points, channels]``, on this module's device."""
        location_NC, scale_NC = (
            torch.from_numpy(np.stack(arrays).astype(np.float32)).to(self.gain.device)
            for arrays in zip(*map(self._origin_and_unit, series), strict=True)
        )
        return Statistics(location_NC[:, None], scale_NC[:, None])

    def _origin_and_unit(self, series: TimeSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = series.values.astype(np.float64)
        unit = values.std(axis=0)
        if series.spread is not None:
            unit = np.maximum(unit, self.floor * series.spread.astype(np.float64))
        unit[unit <= RESOLUTION * np.abs(values).max(axis=0)] = 0.0
        return (values.mean(axis=0) if self.origin == "mean" else values[-1]), unit
