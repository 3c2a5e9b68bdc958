from __future__ import annotations

import torch

from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.testing import AugmentationContract

PLUGIN = "modrwkv_audio_augmentations.plugin"


class TestTimeShift(AugmentationContract):
    plugin = PLUGIN
    name = "time_shift"
    configs = ({}, {"max_seconds": 100.0})


class TestGain(AugmentationContract):
    plugin = PLUGIN
    name = "gain"
    configs = ({}, {"min_db": -60.0, "max_db": -3.0})


class TestNoise(AugmentationContract):
    plugin = PLUGIN
    name = "noise"
    configs = ({}, {"min_snr": -20.0, "max_snr": 0.0})


class TestSpeed(AugmentationContract):
    plugin = PLUGIN
    name = "speed"
    configs = ({}, {"factors": (0.25, 0.93, 4.0)})


class TestSpecAugment(AugmentationContract):
    plugin = PLUGIN
    name = "spec_augment"
    configs = ({}, {"time_masks": 0}, {"frequency_masks": 0, "max_time_share": 1.0}, {"frequency_width": 1000})

    def items(self, config: object) -> list[MediaItem]:
        generator = torch.Generator().manual_seed(0)
        return [MediaItem({"mel": torch.randn(80, n, generator=generator)}, 160 * n) for n in (1, 2, 13, 300)]
