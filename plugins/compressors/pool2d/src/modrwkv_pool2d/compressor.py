"""The pooling.

G = grids, R = rows, C = columns, D = dimension.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from modrwkv_core.interfaces.grid_compressor import GridCompressor
from modrwkv_core.interfaces.grids import Grid
from modrwkv_pool2d.config import Pool2dConfig

__all__ = ["Pool2dCompressor"]


class Pool2dCompressor(GridCompressor[Pool2dConfig]):
    """Shrinks grids of features to the means of their squares; has no weights."""

    def compress(self, x_GRCD: Tensor) -> Tensor:
        """Average over squares: ``[G, rows, columns, in_dim]`` to ``[G, rows', columns', in_dim]``."""
        kernel, step = self.config.kernel, self.config.step
        grid = Grid(*x_GRCD.shape[1:3])
        after = self.config.out_grid(grid)
        below, right = ((count - 1) * step + kernel - side for count, side in zip(after, grid, strict=True))

        def sums(x: Tensor) -> Tensor:
            # A stride may leave the last rows and columns out; padding by less than nothing cuts them off.
            padded = functional.pad(x, (0, right, 0, below))
            return functional.avg_pool2d(padded, kernel, step, divisor_override=1)

        x_GDRC = x_GRCD.permute(0, 3, 1, 2)
        means = sums(x_GDRC) / sums(x_GDRC.new_ones(1, 1, *grid))
        return means.permute(0, 2, 3, 1)
