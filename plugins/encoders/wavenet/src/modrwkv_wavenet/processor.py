"""Series to media items."""

from __future__ import annotations

import numpy as np
import torch

from modrwkv_core.interfaces.checked_series import checked_series
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.frames import standardized
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_wavenet.config import WaveNetConfig

__all__ = ["WaveNetProcessor"]


class WaveNetProcessor(Processor[WaveNetConfig, TimeSeries]):
    """Checks a series and normalizes it; the item's length is its number of points."""

    def __call__(self, signal: TimeSeries) -> MediaItem:
        """Return an item with ``values [points, channels]``, float32.

        Raises:
            DataError: Too few points, another number of channels, NaN or infinite values.
        """
        values = checked_series(signal, self.config.channels, self.config.min_length, "encoder/wavenet")
        values = standardized(values, axis=0) if self.config.normalize else values.astype(np.float32)
        return MediaItem({"values": torch.from_numpy(values)}, len(values))
