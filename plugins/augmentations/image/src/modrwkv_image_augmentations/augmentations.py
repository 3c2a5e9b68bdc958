"""Augmentations of images, by torchvision's transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torchvision.transforms import v2

from modrwkv_core.interfaces.augmentation import SignalAugmentation, torch_seeded
from modrwkv_core.interfaces.signals import Image
from modrwkv_image_augmentations.config import (
    ColorJitterConfig,
    RandAugmentConfig,
    RandomFlipConfig,
    RandomResizedCropConfig,
    RandomShiftConfig,
)

__all__ = ["ColorJitter", "RandAugment", "RandomFlip", "RandomResizedCrop", "RandomShift"]


class RandomFlip(SignalAugmentation[RandomFlipConfig, Image]):
    """Mirrors an image."""

    def __call__(self, signal: Image, rng: Generator) -> Image:
        """Return the mirrored image."""
        axis = 1 if self.config.direction == "horizontal" else 0
        pixels = signal.pixels[:, ::-1] if axis else signal.pixels[::-1]
        return Image(pixels.copy())


class RandomResizedCrop(SignalAugmentation[RandomResizedCropConfig, Image]):
    """Cuts out a rectangle and resizes it to the image's size."""

    def __call__(self, signal: Image, rng: Generator) -> Image:
        """Return an image of the same size."""
        height, width, _ = signal.pixels.shape
        stretch = self.config.max_stretch
        ratio = width / height
        transform = v2.RandomResizedCrop(
            (height, width), scale=(self.config.min_area, 1.0), ratio=(ratio / stretch, ratio * stretch)
        )
        return _transformed(signal, transform, rng)


class RandomShift(SignalAugmentation[RandomShiftConfig, Image]):
    """Moves an image."""

    def __call__(self, signal: Image, rng: Generator) -> Image:
        """Return an image of the same size."""
        height, width, _ = signal.pixels.shape
        y, x = (max(round(self.config.max_share * size), 1) for size in (height, width))
        top, left = rng.integers(2 * y + 1), rng.integers(2 * x + 1)
        padded = np.pad(signal.pixels, ((y, y), (x, x), (0, 0)), mode="edge")
        return Image(padded[top : top + height, left : left + width].copy())


class ColorJitter(SignalAugmentation[ColorJitterConfig, Image]):
    """Changes colors."""

    def __call__(self, signal: Image, rng: Generator) -> Image:
        """Return an image of the same size."""
        config = self.config
        transform = v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
        return _transformed(signal, transform, rng)


class RandAugment(SignalAugmentation[RandAugmentConfig, Image]):
    """Applies drawn operations; what they uncover is grey."""

    def __call__(self, signal: Image, rng: Generator) -> Image:
        """Return an image of the same size."""
        transform = v2.RandAugment(self.config.operations, self.config.magnitude, fill=[128.0, 128.0, 128.0])
        return _transformed(signal, transform, rng)


def _transformed(signal: Image, transform: Any, rng: Generator) -> Image:
    # A copy: arrays that cannot be written would make torch warn.
    pixels = torch.from_numpy(signal.pixels.copy()).permute(2, 0, 1)
    with torch_seeded(rng):
        changed = transform(pixels)
    return Image(changed.permute(1, 2, 0).contiguous().numpy())
