"""What a manifest may say about ``pixel_shuffle``, and the arithmetic of its widths and grids."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import GridCompressorConfig
from modrwkv_core.interfaces.grids import Grid

__all__ = ["PixelShuffleConfig"]


class PixelShuffleConfig(GridCompressorConfig):
    """Squares of ``factor`` x ``factor`` neighbours in a grid of features become one feature each, as wide as them all.

    Zeros fill the partial squares at the right and lower edges of a grid that the factor does not divide.

    Source: space-to-depth as in Chen et al., InternVL 1.5, arXiv 2404.16821, and Laurençon et al., Idefics3,
    arXiv 2408.12637.
    """

    type: Literal["pixel_shuffle"] = "pixel_shuffle"

    factor: int = Field(default=2, ge=1)
    """Height and width of the squares, in features."""

    def out_dim(self, in_dim: int) -> int:
        """Dimension of a square of features of dimension ``in_dim``."""
        return in_dim * self.factor**2

    def out_grid(self, grid: Grid) -> Grid:
        """Rows and columns of squares, partial ones included."""
        return Grid(-(-grid.rows // self.factor), -(-grid.columns // self.factor))
