"""What a manifest may say about ``conv2d``, and the arithmetic of its widths and grids."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import GridCompressorConfig
from modrwkv_core.interfaces.grids import Grid

__all__ = ["Conv2dConfig"]


class Conv2dConfig(GridCompressorConfig):
    """A convolution with ``kernel`` k, ``stride`` s and ``padding`` p over the rows and columns of a grid.

    A side of L features becomes ``floor((L + 2p - k) / s) + 1``.

    Source: convolutions between image encoder and language model as in Cha et al., Honeybee, arXiv 2312.06742.
    """

    type: Literal["conv2d"] = "conv2d"

    kernel: int = Field(default=3, ge=1)
    """Height and width of what one output sees, in features."""

    stride: int = Field(default=2, ge=1)
    """Rows and columns between one output and the next."""

    padding: int = Field(default=1, ge=0)
    """Zeros around each grid; fewer than ``kernel``, so that every output sees a feature."""

    channels: int | None = Field(default=None, ge=1)
    """Dimension of the outputs; by default that of the inputs."""

    bias: bool = False
    """Add a learned constant to each channel."""

    @model_validator(mode="after")
    def _padding_is_below_kernel(self) -> Self:
        if self.padding >= self.kernel:
            raise ValueError(f"padding {self.padding} must be smaller than kernel {self.kernel}")
        return self

    def out_dim(self, in_dim: int) -> int:
        """Dimension of the outputs for features of dimension ``in_dim``."""
        return in_dim if self.channels is None else self.channels

    def out_grid(self, grid: Grid) -> Grid:
        """Rows and columns of outputs; zeros if the grid does not fill one kernel."""
        return Grid(self._outputs(grid.rows), self._outputs(grid.columns))

    def _outputs(self, side: int) -> int:
        return max(0, (side + 2 * self.padding - self.kernel) // self.stride + 1)
