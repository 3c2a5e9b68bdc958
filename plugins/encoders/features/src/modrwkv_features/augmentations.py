"""Augmentations of feature frames."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from torch.nn import functional

from modrwkv_core.interfaces.augmentation import SignalAugmentation
from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_features.config import TimeMaskConfig, TimeStretchConfig

__all__ = ["TimeMask", "TimeStretch"]


class TimeStretch(SignalAugmentation[TimeStretchConfig, FeatureFrames]):
    """Makes frames fewer or more."""

    def __call__(self, signal: FeatureFrames, rng: Generator) -> FeatureFrames:
        """Return frames whose number is divided by the rate, rounded, at least one."""
        rate = rng.uniform(self.config.min_rate, self.config.max_rate)
        frames = max(round(len(signal.values) / rate), 1)
        values = torch.from_numpy(signal.values.copy())
        stretched = functional.interpolate(values.T[None], frames, mode="linear", align_corners=True)[0].T
        return FeatureFrames(stretched.numpy())


class TimeMask(SignalAugmentation[TimeMaskConfig, FeatureFrames]):
    """Masks stretches of frames."""

    def __call__(self, signal: FeatureFrames, rng: Generator) -> FeatureFrames:
        """Return as many frames."""
        frames = len(signal.values)
        longest = min(self.config.width, int(self.config.max_share * frames))
        values = signal.values.copy()
        mean = values.mean(axis=0)
        for _ in range(self.config.masks):
            width = int(rng.integers(0, longest + 1))
            start = int(rng.integers(0, frames - width + 1))
            values[start : start + width] = mean
        return FeatureFrames(values.astype(np.float32))
