"""Series to media items."""

from __future__ import annotations

import numpy as np
import torch

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_wavenet.config import WaveNetConfig

__all__ = ["WaveNetProcessor"]

RESOLUTION = 1e-6
"""Variation below this share of a channel's largest value is rounding of float32, not signal."""


class WaveNetProcessor(Processor[WaveNetConfig, TimeSeries]):
    """Checks a series and normalizes it; the item's length is its number of points."""

    def __call__(self, signal: TimeSeries) -> MediaItem:
        """Return an item with ``values [points, channels]``, float32.

        Raises:
            DataError: Too few points, another number of channels, NaN or infinite values.
        """
        values = signal.values.astype(np.float64)
        points, channels = values.shape
        if channels != self.config.channels:
            raise DataError(
                f"the series has {channels} channels, the encoder reads {self.config.channels}",
                component="encoder/wavenet",
                hint=f"give columns that the model was trained on, or train with `channels: {channels}`",
            )
        if points < self.config.min_length:
            raise DataError(
                f"the series has {points} points, the encoder needs at least {self.config.min_length}",
                component="encoder/wavenet",
                hint="give a longer window (`min_length` sets the bound)",
            )
        if not np.isfinite(values).all():
            point, channel = np.argwhere(~np.isfinite(values))[0]
            raise DataError(
                f"the series holds {values[point, channel]} at point {point} of channel {channel}",
                component="encoder/wavenet",
                hint="fill or cut out missing measurements first",
            )
        if self.config.normalize:
            deviation = values.std(axis=0)
            resolvable = deviation > RESOLUTION * np.abs(values).max(axis=0)
            values = np.where(resolvable, values - values.mean(axis=0), 0.0) / np.where(resolvable, deviation, 1.0)
        return MediaItem({"values": torch.from_numpy(values.astype(np.float32))}, points)
