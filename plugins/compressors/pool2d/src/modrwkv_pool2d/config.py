"""What a manifest may say about ``pool2d``, and the arithmetic of its grids."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import GridCompressorConfig
from modrwkv_core.interfaces.grids import Grid

__all__ = ["Pool2dConfig"]


class Pool2dConfig(GridCompressorConfig):
    """The mean over squares of ``kernel`` x ``kernel`` features, one square every ``stride`` rows and columns.

    A partial square at the right or lower edge is the mean of the features that it has, so that nothing is lost and a
    grid smaller than ``kernel`` gives one feature.

    Source: average pooling of the grid as in Yao et al., DeCo, arXiv 2405.20985, here over squares of one size.
    """

    type: Literal["pool2d"] = "pool2d"

    kernel: int = Field(default=2, ge=1)
    """Height and width of a square, in features."""

    stride: int | None = Field(default=None, ge=1)
    """Rows and columns between one square and the next; by default ``kernel``."""

    @property
    def step(self) -> int:
        """The stride in effect."""
        return self.kernel if self.stride is None else self.stride

    def out_grid(self, grid: Grid) -> Grid:
        """Rows and columns of squares."""
        return Grid(self._squares(grid.rows), self._squares(grid.columns))

    def _squares(self, side: int) -> int:
        covering = 1 + -(-max(0, side - self.kernel) // self.step)
        beginning = -(-side // self.step)
        return min(covering, beginning)
