"""Images to the pixels that a model of timm reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch
from timm.data.transforms_factory import create_transform

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_timm.config import TimmConfig

__all__ = ["TimmProcessor"]

LONGEST = 100
"""Largest ratio of an image's sides: the crop shows next to nothing of a longer one, and padding leaves it no pixel."""


class TimmProcessor(Processor[TimmConfig, Image]):
    """Resizes and crops an image by timm's own evaluation transform, before it normalizes.

    Args:
        config: The configuration.
    """

    def __init__(self, config: TimmConfig) -> None:
        super().__init__(config)
        assert config.image_size is not None, "completed by the configuration"
        self._longest = min(LONGEST, config.image_size) if config.crop_mode == "border" else LONGEST
        options: Any = config.model_dump(include={"interpolation", "mean", "std", "crop_pct", "crop_mode"})
        self._transform = create_transform(config.image_size, is_training=False, normalize=False, **options)

    def __call__(self, signal: Image) -> MediaItem:
        """Make ``pixels [3, image_size, image_size]``, uint8; the length is the number of places of the grid.

        Raises:
            DataError: The image has no pixels, other channels than three, another dtype than uint8, or is much longer
                than broad.
        """
        pixels = signal.pixels
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise DataError(
                f"an image is [height, width, 3] in uint8, not {list(pixels.shape)} in {pixels.dtype}",
                component="encoder/timm",
            )
        height, width = pixels.shape[:2]
        if self.config.crop_mode != "squash" and max(height, width) > self._longest * min(height, width):
            raise DataError(
                f"an image of {width} x {height} pixels is more than {self._longest} times as long as it is broad",
                component="encoder/timm",
                hint="cut it into pieces, leave it out, or set crop_mode: squash",
            )
        if height == width == self.config.image_size and self.config.crop_pct == 1.0:
            # The transform would copy it as it is, and costs several times as much.
            return MediaItem({"pixels": torch.from_numpy(pixels.copy()).permute(2, 0, 1)}, self.config.typical_length)
        resized: torch.Tensor = self._transform(PIL.Image.fromarray(np.ascontiguousarray(pixels)))
        return MediaItem({"pixels": resized}, self.config.typical_length)
