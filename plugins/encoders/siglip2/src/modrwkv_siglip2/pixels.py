"""The pixels that all SigLIP 2 towers read: 8 bits from the processor, normalized by the encoder."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.pixels import normalize_pixels
from modrwkv_core.interfaces.signals import Image

__all__ = ["normalized", "resized_pixels", "uint8_pixels"]

INTERPOLATION: Final = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def uint8_pixels(picture: Image, component: str) -> Tensor:
    """Return an image as a tensor ``[3, height, width]``, uint8.

    Raises:
        DataError: The image has no pixels, other channels or another dtype; names ``component``.
    """
    pixels = picture.pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise DataError(
            f"an image is [height, width, 3] in uint8, not {list(pixels.shape)} in {pixels.dtype}", component=component
        )
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def resized_pixels(pixels: Tensor, height: int, width: int, resample: Literal["bilinear", "bicubic"]) -> Tensor:
    """Resize in 8 bits with antialiasing: ``[3, height, width]``, uint8."""
    resized: Tensor = functional.resize(pixels, [height, width], interpolation=INTERPOLATION[resample], antialias=True)
    return resized


def normalized(pixels: Tensor) -> Tensor:
    """Scale pixels of any shape from 0 ... 255 to -1 ... 1, float32."""
    return normalize_pixels(pixels, (0.5,), (0.5,))
