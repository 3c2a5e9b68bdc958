from __future__ import annotations

from modrwkv_core.testing import AugmentationContract

PLUGIN = "modrwkv_image_augmentations.plugin"


class TestRandomFlip(AugmentationContract):
    plugin = PLUGIN
    name = "random_flip"
    configs = ({}, {"direction": "vertical"})


class TestRandomResizedCrop(AugmentationContract):
    plugin = PLUGIN
    name = "random_resized_crop"
    configs = ({}, {"min_area": 0.01, "max_stretch": 10.0})


class TestRandomShift(AugmentationContract):
    plugin = PLUGIN
    name = "random_shift"
    configs = ({}, {"max_share": 0.5}, {"max_share": 0.001})


class TestColorJitter(AugmentationContract):
    plugin = PLUGIN
    name = "color_jitter"
    configs = ({}, {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.5})


class TestRandAugment(AugmentationContract):
    plugin = PLUGIN
    name = "rand_augment"
    configs = ({}, {"operations": 14, "magnitude": 30})
