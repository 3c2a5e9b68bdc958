from __future__ import annotations

import numpy as np
from modrwkv_wavenet.config import WaveNetConfig

from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.testing import EncoderContract


def walk(points: int, channels: int) -> TimeSeries:
    steps = np.random.default_rng(points).normal(size=(points, channels))
    return TimeSeries(steps.cumsum(axis=0).astype(np.float32))


class TestWaveNet(EncoderContract):
    plugin = "modrwkv_wavenet.plugin"
    name = "wavenet"
    configs = (
        {"hidden_size": 8, "num_layers": 4},
        {
            "hidden_size": 6,
            "num_layers": 3,
            "blocks": 2,
            "kernel": 3,
            "channels": 2,
            "normalize": False,
            "min_length": 1,
        },
    )

    def signals(self, config: WaveNetConfig) -> list[TimeSeries]:
        constant = TimeSeries(np.full((9, config.channels), 3.0, np.float32))
        return [walk(points, config.channels) for points in range(config.min_length, 40)] + [constant]

    def bad_signals(self, config: WaveNetConfig) -> list[TimeSeries]:
        return [
            walk(config.min_length - 1, config.channels),
            walk(20, config.channels + 1),
            TimeSeries(np.full((20, config.channels), np.nan, np.float32)),
        ]
