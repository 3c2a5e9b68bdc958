"""Feature frames to media items."""

from __future__ import annotations

import numpy as np
import torch

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.frames import checked_frames, standardized
from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_features.config import FeaturesConfig

__all__ = ["FeaturesProcessor"]


class FeaturesProcessor(Processor[FeaturesConfig, FeatureFrames]):
    """Checks frames and normalizes them; the item's length is their number."""

    def __call__(self, signal: FeatureFrames) -> MediaItem:
        """Return an item with ``values [frames, dims]``, float32.

        Raises:
            DataError: No frames, another number of dims, NaN or infinite values.
        """
        values = checked_frames(signal, self.config.in_dim, "encoder/features")
        frames = standardized(values, 0) if self.config.normalize else np.array(values, np.float32)
        return MediaItem({"values": torch.from_numpy(frames)}, len(frames))
