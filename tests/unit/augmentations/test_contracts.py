from __future__ import annotations

import numpy as np

from modrwkv_core.interfaces.augmentation import LabeledSignal
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.testing import AugmentationContract

PLUGIN = "modrwkv_core.builtin"


def series_with_targets() -> list[LabeledSignal[TimeSeries]]:
    rng = np.random.default_rng(0)
    flat = TimeSeries(np.full((40, 2), 3.0, np.float32))
    walks = [TimeSeries(rng.normal(size=(40, 2)).cumsum(axis=0).astype(np.float32)) for _ in range(3)]
    samples = [LabeledSignal(signal, (rng.normal(size=(8, 2)).tolist(),)) for signal in [*walks, flat]]
    spread = TimeSeries(walks[0].values, np.asarray([2.0, 3.0], np.float32))
    return [
        *samples,
        LabeledSignal(spread, samples[0].targets),
        LabeledSignal(TimeSeries(np.ones((5, 1), np.float32)), ([1.0, 2.0],)),
        LabeledSignal(walks[0]),
    ]


class TestJitter(AugmentationContract):
    plugin = PLUGIN
    name = "jitter"
    configs = ({}, {"sigma": 0.5, "probability": 0.25})


class TestScaling(AugmentationContract):
    plugin = PLUGIN
    name = "scaling"
    configs = ({}, {"sigma": 1.0})

    def samples(self, config: object) -> list[LabeledSignal[TimeSeries]]:
        return series_with_targets()


class TestFlip(AugmentationContract):
    plugin = PLUGIN
    name = "flip"
    configs = ({}, {"probability": 0.5})

    def samples(self, config: object) -> list[LabeledSignal[TimeSeries]]:
        return series_with_targets()


class TestTSMix(AugmentationContract):
    plugin = PLUGIN
    name = "tsmix"
    configs = ({}, {"series": 2, "alpha": 0.5})

    def samples(self, config: object) -> list[LabeledSignal[TimeSeries]]:
        return series_with_targets()


class TestWindowMask(AugmentationContract):
    plugin = PLUGIN
    name = "window_mask"
    configs = ({}, {"windows": 3, "max_share": 1.0}, {"max_share": 0.001})


class TestFeatureMask(AugmentationContract):
    plugin = PLUGIN
    name = "feature_mask"
    configs = ({}, {"time_share": 0.5, "channel_share": 0.3, "channel_length": 4}, {"time_share": 1.0})


class TestFeatureDropout(AugmentationContract):
    plugin = PLUGIN
    name = "feature_dropout"
    configs = ({}, {"rate": 0.9})
