"""Images to the patches that a SigLIP 2 NaFlex vision tower reads."""

from __future__ import annotations

from math import ceil
from typing import Final

import torch

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_siglip2.naflex.config import Siglip2NaflexConfig
from modrwkv_siglip2.pixels import resized_pixels, uint8_pixels

__all__ = ["Siglip2NaflexProcessor", "patch_grid"]

SMALLEST_SCALE: Final = 1e-6
LARGEST_SCALE: Final = 100.0
SCALE_PRECISION: Final = 1e-5


class Siglip2NaflexProcessor(Processor[Siglip2NaflexConfig, Image]):
    """Resizes an image to as many whole patches as are allowed and cuts it.

    The aspect ratio is kept except for rounding to whole patches. The values are those of the pretrained
    checkpoints' own processor before it normalizes them: resized in 8 bits with antialiasing.
    """

    def __call__(self, signal: Image) -> MediaItem:
        """Make ``patches [patches, patch_size * patch_size * 3]``, uint8, row by row, each pixel by pixel.

        The length is the number of patches, in their grid; ``grid`` holds its rows and columns, int64.

        Raises:
            DataError: The image has no pixels, other channels than three, or another dtype than uint8.
        """
        pixels = uint8_pixels(signal, "encoder/siglip2_naflex")
        size = self.config.patch_size
        rows, columns = patch_grid(pixels.shape[1], pixels.shape[2], size, self.config.max_patches)
        pixels = resized_pixels(pixels, rows * size, columns * size, self.config.resample)
        patches = pixels.reshape(3, rows, size, columns, size).permute(1, 3, 2, 4, 0).reshape(rows * columns, -1)
        return MediaItem({"patches": patches, "grid": torch.tensor([rows, columns])}, GridLength((rows, columns)))


def patch_grid(height: int, width: int, patch_size: int, max_patches: int) -> tuple[int, int]:
    """Return the rows and columns of patches of an image: the largest scale whose rounded-up grid is allowed.

    The scale is bisected between the bounds and to the precision that the checkpoints were trained with, so that the
    same grid comes out where two are nearly equally good.
    """

    def grid(scale: float) -> tuple[int, int]:
        return max(1, ceil(height * scale / patch_size)), max(1, ceil(width * scale / patch_size))

    fits, exceeds = SMALLEST_SCALE, LARGEST_SCALE
    while exceeds - fits >= SCALE_PRECISION:
        scale = (fits + exceeds) / 2
        rows, columns = grid(scale)
        if rows * columns <= max_patches:
            fits = scale
        else:
            exceeds = scale
    return grid(fits)
