from __future__ import annotations

import numpy as np
from modrwkv_features.config import FeaturesConfig

from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.testing import EncoderContract


def frames(count: int, dims: int) -> FeatureFrames:
    return FeatureFrames(np.random.default_rng(count).normal(3.0, 2.0, (count, dims)).astype(np.float32))


class TestFeatures(EncoderContract):
    plugin = "modrwkv_features.plugin"
    name = "features"
    configs = (
        {"in_dim": 8, "hidden_size": 6},
        {"in_dim": 3, "hidden_size": 8, "subsampling": 8, "normalize": True},
        {"in_dim": 1, "hidden_size": 4, "subsampling": 2},
    )

    def signals(self, config: FeaturesConfig) -> list[FeatureFrames]:
        constant = FeatureFrames(np.full((9, config.in_dim), 3.0, np.float32))
        return [frames(count, config.in_dim) for count in range(1, 36)] + [constant]

    def bad_signals(self, config: FeaturesConfig) -> list[FeatureFrames]:
        return [frames(20, config.in_dim + 1)]
