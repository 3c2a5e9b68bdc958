"""Feature frames to media items."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_features.config import FeaturesConfig

__all__ = ["FeaturesProcessor"]

RESOLUTION = 1e-6
"""Variation below this share of a dim's largest value is rounding of float32, not signal."""


class FeaturesProcessor(Processor[FeaturesConfig, FeatureFrames]):
    """Checks frames and normalizes them; the item's length is their number."""

    def __call__(self, signal: FeatureFrames) -> MediaItem:
        """Return an item with ``values [frames, dims]``, float32.

        Raises:
            DataError: No frames, another number of dims, NaN or infinite values.
        """
        values = signal.values
        frames, dims = values.shape
        if not frames:
            raise DataError("the features have no frames", component="encoder/features", hint="leave them out")
        if dims != self.config.in_dim:
            raise DataError(
                f"a frame has {dims} dims, the encoder reads {self.config.in_dim}",
                component="encoder/features",
                hint=f"give the features that the model was trained on, or train with `in_dim: {dims}`",
            )
        if not np.isfinite(values).all():
            frame, dim = np.argwhere(~np.isfinite(values))[0]
            raise DataError(
                f"the features hold {values[frame, dim]} at frame {frame} of dim {dim}",
                component="encoder/features",
                hint="correct or leave out what made them",
            )
        normalized = _normalized(values.astype(np.float64)) if self.config.normalize else values
        return MediaItem({"values": torch.from_numpy(np.array(normalized, np.float32))}, frames)


def _normalized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = values.std(axis=0)
    resolvable = deviation > RESOLUTION * np.abs(values).max(axis=0)
    return np.where(resolvable, values - values.mean(axis=0), 0.0) / np.where(resolvable, deviation, 1.0)
