"""Augmentations of features of any modality.

N = media items, L = the longest of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from modrwkv_core.augmentations.config import FeatureDropoutConfig, FeatureMaskConfig
from modrwkv_core.interfaces.augmentation import FeatureAugmentation
from modrwkv_core.interfaces.values import Features

__all__ = ["FeatureDropout", "FeatureMask"]


class FeatureMask(FeatureAugmentation[FeatureMaskConfig]):
    """Sets stretches of vectors and of channels to zero."""

    def __call__(self, features: Features, rngs: Sequence[Generator]) -> Features:
        """Return masked features: ``[N, L, dim]``."""
        config, values = self.config, features.values
        items, longest, dim = values.shape
        vectors, channels = np.zeros((items, longest), np.bool_), np.zeros((items, dim), np.bool_)
        for index, (rng, length) in enumerate(zip(rngs, features.lengths.tolist(), strict=True)):
            vectors[index, :length] = _spans(length, config.time_share, config.time_length, rng)
            channels[index] = _spans(dim, config.channel_share, config.channel_length, rng)
        masked_NL, masked_ND = (torch.from_numpy(mask).to(values.device) for mask in (vectors, channels))
        return features.with_values(values.masked_fill(masked_NL[:, :, None] | masked_ND[:, None, :], 0.0))


class FeatureDropout(FeatureAugmentation[FeatureDropoutConfig]):
    """Sets single values to zero."""

    def __call__(self, features: Features, rngs: Sequence[Generator]) -> Features:
        """Return features ``[N, L, dim]``; those that are kept are divided by the share that is kept."""
        values, rate = features.values, self.config.rate
        kept = torch.zeros(values.shape, dtype=torch.bool, device=values.device)
        # A generator for each item: its neighbors in the batch change nothing.
        for index, (rng, length) in enumerate(zip(rngs, features.lengths.tolist(), strict=True)):
            generator = torch.Generator(values.device).manual_seed(int(rng.integers(2**63)))
            drawn = torch.rand((length, values.shape[2]), generator=generator, device=values.device)
            kept[index, :length] = drawn >= rate
        return features.with_values(values * kept / (1.0 - rate))


def _spans(size: int, share: float, length: int, rng: Generator) -> NDArray[np.bool_]:
    """Return ``[size]``, true in stretches of ``length`` that are ``share`` of it together unless they overlap."""
    masked = np.zeros(size, np.bool_)
    length = min(length, max(size // 2, 1))
    # A fraction of a stretch is one stretch in that share of the items.
    count = int(share * size / length + rng.random())
    for start in rng.integers(size - length + 1, size=count) if size else ():
        masked[start : start + length] = True
    return masked
