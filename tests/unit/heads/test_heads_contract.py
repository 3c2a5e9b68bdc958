from __future__ import annotations

from typing import Any

import numpy as np

from modrwkv_core.heads.config import ForecastConfig
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.testing import HeadContract


class TestLanguageModel(HeadContract):
    plugin = "modrwkv_core.builtin"
    name = "lm"


class TestCtc(HeadContract):
    plugin = "modrwkv_core.builtin"
    name = "ctc"
    configs = ({"modality": "audio"}, {"modality": "features", "dropout": 0.3, "loss_weight": 0.5})


class TestForecast(HeadContract):
    plugin = "modrwkv_core.builtin"
    name = "forecast"
    configs = (
        {"horizon": 5},
        {"horizon": 3, "channels": 2, "loss": "huber", "statistics": "last", "dropout": 0.1},
        {"horizon": 4, "channels": 2, "loss": "quantile", "quantiles": [0.05, 0.5, 0.95]},
        {"horizon": 4, "channels": 2, "residual": "linear", "context_length": 24},
    )

    def examples(self, config: ForecastConfig) -> list[tuple[TimeSeries, Any]]:
        draw = np.random.default_rng(0).normal
        return [
            (TimeSeries(draw(size=(20, config.channels)).astype(np.float32)), draw(size=(points, config.channels)))
            for points in (config.horizon, 1, config.horizon - 1)
        ]

    def bad_examples(self, config: ForecastConfig) -> list[tuple[TimeSeries, Any]]:
        series = TimeSeries(np.ones((20, config.channels), np.float32))
        nowhere = TimeSeries(np.full((20, config.channels), np.nan, np.float32))
        right = np.ones((config.horizon, config.channels))
        return [
            (series, np.ones((config.horizon + 1, config.channels))),
            (series, right * np.inf),
            (series, "up"),
            (nowhere, right),
        ]
