"""The shuffle.

G = grids, R = rows, C = columns, D = dimension in, E = dimension out.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from modrwkv_core.interfaces.grid_compressor import GridCompressor
from modrwkv_core.interfaces.grids import Grid
from modrwkv_pixel_shuffle.config import PixelShuffleConfig

__all__ = ["PixelShuffleCompressor"]


class PixelShuffleCompressor(GridCompressor[PixelShuffleConfig]):
    """Puts squares of neighbours side by side; has no weights.

    Source: InternVL 1.5, arXiv 2404.16821; within a feature the square goes row by row, as in Idefics3,
    arXiv 2408.12637.
    """

    def compress(self, x_GRCD: Tensor) -> Tensor:
        """Join squares: ``[G, rows, columns, in_dim]`` to ``[G, rows', columns', in_dim * factor ** 2]``."""
        factor = self.config.factor
        _, rows, columns, dim = x_GRCD.shape
        filled = functional.pad(x_GRCD, (0, 0, 0, -columns % factor, 0, -rows % factor))
        after = self.config.out_grid(Grid(rows, columns))
        squares = filled.reshape(-1, after.rows, factor, after.columns, factor, dim).transpose(2, 3)
        return squares.reshape(-1, *after, factor * factor * dim)
