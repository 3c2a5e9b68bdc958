"""A picture to the tensors of its tiles."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_tiles.config import TilesConfig
from modrwkv_tiles.tiling import best_grid, cut, on_canvas

__all__ = ["PREFIX", "SHAPE", "TilesProcessor"]

PREFIX: Final = "encoder/"
"""Begins the names of the image encoder's tensors, which have an axis of pictures in front."""

SHAPE: Final = "shape"
"""Name of the tensor ``[rows, columns, length, 0]``: its shape says the grid of tiles and the length of a tile's item,
and travels to a device and into a batch of frames without being read."""


class TilesProcessor(Processor[TilesConfig, Image]):
    """Lays a picture on tiles and processes each, and a thumbnail, as the encoder's images.

    Args:
        config: The configuration.
        encoder: The processor of the image encoder.
    """

    def __init__(self, config: TilesConfig, encoder: Processor[Any, Image]) -> None:
        super().__init__(config)
        self.encoder = encoder

    def __call__(self, signal: Image) -> MediaItem:
        """Make the encoder's tensors of thumbnail and tiles; the length is the number of features of all.

        Raises:
            DataError: The picture has no pixels, other channels than three, another dtype than uint8, or is so long
                that less than one pixel of its breadth would be left.
        """
        pixels, size = signal.pixels, self.config.tile_size
        assert size is not None, "completed by the configuration"
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise DataError(
                f"an image is [height, width, 3] in uint8, not {list(pixels.shape)} in {pixels.dtype}",
                component="encoder/tiles",
            )
        height, width, _ = pixels.shape
        grid = best_grid(height, width, self.config.max_tiles, size)
        scale = min(grid.rows * size / height, grid.columns * size / width)
        if min(height, width) * scale < 1:
            raise DataError(
                f"an image of {width} x {height} pixels is too long: at most {self.config.max_tiles} tiles of {size} "
                f"pixels leave less than one pixel of its breadth",
                component="encoder/tiles",
                hint="cut it into pieces, leave it out, or allow more tiles by max_tiles",
            )
        pictures = [*cut(on_canvas(pixels, grid.rows * size, grid.columns * size), size)]
        if len(pictures) > 1:
            pictures.insert(0, on_canvas(pixels, size, size))
        items = [self.encoder(Image(picture)) for picture in pictures]
        length = items[0].length
        if any(item.length != length for item in items):
            raise DataError(
                f"the encoder '{self.config.encoder.type}' makes items of different lengths of tiles of one size",
                component="encoder/tiles",
                hint="use an encoder whose lengths depend on the size of an image only",
            )
        tensors = {PREFIX + name: torch.stack([item.tensors[name] for item in items]) for name in items[0].tensors}
        tensors[SHAPE] = torch.empty(*grid, length, 0, dtype=torch.uint8)
        return MediaItem(tensors, self.config.features_length(grid, self.config.encoder.out_length(length)))
