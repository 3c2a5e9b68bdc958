"""Pictures to the pixels that a SigLIP 2 vision tower reads."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Picture
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_siglip2.config import Siglip2Config

__all__ = ["Siglip2Processor"]

INTERPOLATION: Final = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


class Siglip2Processor(Processor[Siglip2Config, Picture]):
    """Resizes a picture to a square and scales its values to -1 ... 1.

    The values are those of the published checkpoints' own processor: resized in 8 bits with antialiasing, without
    keeping the aspect ratio.
    """

    def __call__(self, signal: Picture) -> MediaItem:
        """Make ``pixels [3, image_size, image_size]``, float32; the length is the number of patches."""
        writable = np.require(signal.pixels, requirements="W")
        pixels = functional.resize(
            torch.from_numpy(writable).permute(2, 0, 1),
            [self.config.image_size, self.config.image_size],
            interpolation=INTERPOLATION[self.config.resample],
            antialias=True,
        )
        return MediaItem({"pixels": pixels.to(torch.float32).sub_(127.5).div_(127.5)}, self.config.patches)
