"""Images to the pixels that a SigLIP 2 vision tower of fixed resolution reads."""

from __future__ import annotations

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_siglip2.config import Siglip2Config
from modrwkv_siglip2.pixels import resized_pixels, uint8_pixels

__all__ = ["Siglip2Processor"]


class Siglip2Processor(Processor[Siglip2Config, Image]):
    """Resizes an image to a square.

    The values are those of the pretrained checkpoints' own processor before it normalizes them: resized in 8 bits with
    antialiasing, without keeping the aspect ratio.
    """

    def __call__(self, signal: Image) -> MediaItem:
        """Make ``pixels [3, image_size, image_size]``, uint8; the length is the number of patches.

        Raises:
            DataError: The image has no pixels, other channels than three, or another dtype than uint8.
        """
        side = self.config.image_size
        pixels = resized_pixels(uint8_pixels(signal, "encoder/siglip2"), side, side, self.config.resample)
        return MediaItem({"pixels": pixels}, self.config.patches)
