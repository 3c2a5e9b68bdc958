"""Series to patches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modrwkv_core.interfaces.checked_series import checked_series
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_timer.config import TimerConfig

__all__ = ["TimerProcessor"]

RESOLUTION = 1e-6
"""Variation below this share of a channel's largest value is rounding of float32, not signal."""


class TimerProcessor(Processor[TimerConfig, TimeSeries]):
    """Checks a series, normalizes it and cuts it into patches; the item's length is its number of points."""

    def __call__(self, signal: TimeSeries) -> MediaItem:
        """Return an item with ``patches [channels, patches, points of a patch]``, float32.

        Raises:
            DataError: Fewer points than a patch, another number of channels, NaN or infinite values.
        """
        values = checked_series(signal, self.config.channels, self.config.patch, "encoder/timer")
        points, channels = values.shape
        if self.config.normalize:
            values = _normalized(values.astype(np.float64))
        newest = values[points % self.config.patch :].astype(np.float32)
        patches = np.ascontiguousarray(newest.T).reshape(channels, -1, self.config.patch)
        return MediaItem({"patches": torch.from_numpy(patches)}, points)


def _normalized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each column mean 0 and standard deviation 1; as in Timer's own usage, that of a sample, not a population."""
    centered = values - values.mean(axis=0)
    deviation = np.sqrt((centered**2).sum(axis=0) / max(len(values) - 1, 1))
    resolvable = deviation > RESOLUTION * np.abs(values).max(axis=0)
    return np.where(resolvable, centered, 0.0) / np.where(resolvable, deviation, 1.0)
