"""A picture on tiles: which grid of them, and the pixels of each."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from modrwkv_core.interfaces.grids import Grid

__all__ = ["best_grid", "cut", "on_canvas"]


def best_grid(height: int, width: int, max_tiles: int, tile_size: int) -> Grid:
    """Return the grid of at most ``max_tiles`` on which a picture keeps most of its pixels and wastes least.

    Source: ``select_best_resolution`` of LLaVA-NeXT.
    """

    def cost(grid: Grid) -> tuple[int, int]:
        scale = min(grid.columns * tile_size / width, grid.rows * tile_size / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return -kept, grid.rows * grid.columns * tile_size**2 - kept

    grids = [Grid(rows, columns) for rows in range(1, max_tiles + 1) for columns in range(1, max_tiles // rows + 1)]
    return min(grids, key=cost)


def on_canvas(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture ``[h, w, 3]`` as large as it fits in the middle of a black one ``[height, width, 3]``.

    It is resized in 8 bits, bicubic with antialiasing, and keeps its aspect ratio.
    """
    scale = min(height / pixels.shape[0], width / pixels.shape[1])
    inner = min(height, ceil(pixels.shape[0] * scale)), min(width, ceil(pixels.shape[1] * scale))
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    resized = np.asarray(image.resize((inner[1], inner[0]), PIL.Image.Resampling.BICUBIC))
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = resized
    return canvas


def cut(canvas: NDArray[np.uint8], tile_size: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles ``[tile_size, tile_size, 3]`` of a canvas, row by row."""
    height, width, _ = canvas.shape
    for top in range(0, height, tile_size):
        for left in range(0, width, tile_size):
            yield canvas[top : top + tile_size, left : left + tile_size]
