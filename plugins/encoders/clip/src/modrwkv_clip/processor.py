"""Images to the pixels that a CLIP vision tower reads."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from modrwkv_clip.config import CLIPConfig
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["MAX_ASPECT_RATIO", "CLIPProcessor"]

MAX_ASPECT_RATIO: Final = 100
"""Length over breadth from which on an image is refused: the square in its middle shows less than a hundredth."""


class CLIPProcessor(Processor[CLIPConfig, Image]):
    """Resizes an image to the shorter side, cuts a square from its middle.

    The values are those of CLIP's own processor before it normalizes them: resized in 8 bits, bicubic with
    antialiasing.
    """

    def __call__(self, signal: Image) -> MediaItem:
        """Make ``pixels [3, image_size, image_size]``, uint8; the length is the number of patches.

        Raises:
            DataError: The image is more than :data:`MAX_ASPECT_RATIO` times as long as it is broad, or has no pixels,
                other channels than three, or another dtype than uint8.
        """
        pixels = _uint8_pixels(signal)
        _, height, width = pixels.shape
        side, shorter = self.config.image_size, min(height, width)
        if max(height, width) > MAX_ASPECT_RATIO * shorter:
            raise DataError(
                f"an image of {width} x {height} pixels is too long: CLIP sees only the square in its middle",
                component="encoder/clip",
                hint="cut it into pieces, or leave it out",
            )
        pixels = functional.resize(
            pixels,
            [side * height // shorter, side * width // shorter],
            interpolation=InterpolationMode.BICUBIC,
            antialias=True,
        )
        top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
        square = pixels[:, top : top + side, left : left + side].contiguous()
        return MediaItem({"pixels": square}, self.config.patches)


def _uint8_pixels(picture: Image) -> Tensor:
    """Return an image as a tensor ``[3, height, width]``, uint8."""
    pixels = picture.pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise DataError(
            f"an image is [height, width, 3] in uint8, not {list(pixels.shape)} in {pixels.dtype}",
            component="encoder/clip",
        )
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
