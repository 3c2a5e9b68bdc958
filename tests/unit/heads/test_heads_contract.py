from __future__ import annotations

import numpy as np
import torch

from modrwkv_core.heads.config import ForecastConfig, LanguageModelConfig
from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.testing import HeadContract


class TestLanguageModel(HeadContract):
    plugin = "modrwkv_core.builtin"
    name = "lm"

    def answers(self, config: LanguageModelConfig) -> torch.Tensor:
        return torch.tensor([3, 1, 4, 1, 5])


class TestForecast(HeadContract):
    plugin = "modrwkv_core.builtin"
    name = "forecast"
    configs = ({"horizon": 5}, {"horizon": 3, "channels": 2, "loss": "huber", "statistics": "last", "dropout": 0.1})

    def answers(self, config: ForecastConfig) -> list[Query]:
        draw = np.random.default_rng(0).normal
        return [
            Query(
                0, TimeSeries(draw(size=(20, config.channels)).astype(np.float32)), draw(size=(points, config.channels))
            )
            for points in (config.horizon, 1, config.horizon - 1)
        ]
