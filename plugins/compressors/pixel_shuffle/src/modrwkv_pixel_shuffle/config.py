"""What a manifest may say about ``pixel_shuffle``, and the arithmetic of its widths and lengths."""

from __future__ import annotations

from math import isqrt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.config import CompressorConfig

__all__ = ["PixelShuffleConfig"]

Side = Annotated[int, Field(ge=1)]


class PixelShuffleConfig(CompressorConfig):
    """Squares of ``factor`` x ``factor`` neighbours in a grid of features become one feature each, as wide as them all.

    The features of an item are the rows of its grid, one after the other: a square grid, or ``grid``.

    Source: space-to-depth as in Chen et al., InternVL 1.5, arXiv 2404.16821, and Laurençon et al., Idefics3,
    arXiv 2408.12637.
    """

    type: Literal["pixel_shuffle"] = "pixel_shuffle"

    factor: int = Field(default=2, ge=1)
    """Height and width of the squares, in features."""

    grid: tuple[Side, Side] | None = None
    """Rows and columns of every item's features; by default each item is a square."""

    @model_validator(mode="after")
    def _factor_divides_grid(self) -> Self:
        if self.grid is not None and any(side % self.factor for side in self.grid):
            raise ValueError(f"the factor {self.factor} does not divide the grid {list(self.grid)}")
        return self

    def sides(self, length: int) -> tuple[int, int]:
        """Return rows and columns of an item of ``length`` features.

        Raises:
            ComponentError: So many features are no grid, or the factor does not divide its sides.
        """
        rows, columns = self.grid or (isqrt(length), isqrt(length))
        if rows * columns != length:
            raise _refusal(
                f"{length} features are no {f'grid of {rows} x {columns}' if self.grid else 'square grid'}",
                "give the grid: [rows, columns] of the encoder's features, and let the encoder leave out what is "
                "not part of it, such as a class token",
            )
        if rows % self.factor or columns % self.factor:
            raise _refusal(
                f"the factor {self.factor} does not divide the grid of {rows} x {columns} features",
                "choose another factor, or another size of image",
            )
        return rows, columns

    def out_dim(self, in_dim: int) -> int:
        """Dimension of a square of features of dimension ``in_dim``."""
        return in_dim * self.factor**2

    def out_length(self, length: int) -> int:
        """Number of squares of ``length`` features.

        Raises:
            ComponentError: So many features are no grid, or the factor does not divide its sides.
        """
        if length == 0:
            return 0
        rows, columns = self.sides(length)
        return (rows // self.factor) * (columns // self.factor)


def _refusal(message: str, hint: str) -> ComponentError:
    return ComponentError(message, component="compressor/pixel_shuffle", hint=hint)
