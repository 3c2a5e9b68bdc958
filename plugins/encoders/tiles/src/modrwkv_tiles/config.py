"""What a manifest may say about ``tiles``, and the arithmetic of its lengths."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.grids import Grid, GridLength, joined_length
from modrwkv_core.interfaces.images_config import ImagesEncoderConfig

__all__ = ["TilesConfig", "picture_count"]


class TilesConfig(ImagesEncoderConfig):
    """A picture on a grid of square tiles, each read by an image encoder, after a thumbnail of the whole.

    The grid is the one of at most ``max_tiles`` on which the picture, in its own aspect ratio, keeps most of its pixels
    and wastes least of the tiles; black fills the rest. A learned separator follows each tile, another one each row of
    tiles, and a third one the thumbnail. A picture that fits one tile best has no thumbnail. Each tile's features keep
    their grid, for compressors of two dimensions; the length of an item is the number of its features.

    Source: AnyRes of Liu et al., LLaVA-NeXT, 2024, https://llava-vl.github.io/blog/2024-01-30-llava-next/; tiles one
    after the other as in Laurençon et al., Idefics3, arXiv 2408.12637.
    """

    type: Literal["tiles"] = "tiles"

    max_tiles: int = Field(default=4, ge=1, le=1024)
    """Most tiles of a picture, the thumbnail not counted."""

    tile_size: int | None = Field(default=None, ge=1)
    """Height and width of a tile in pixels; by default the ``image_size`` of the encoder."""

    @model_validator(mode="after")
    def _know_tile_size(self) -> Self:
        if self.tile_size is None:
            size = getattr(self.encoder, "image_size", None)
            if not isinstance(size, int):
                raise ValueError(f"the encoder '{self.encoder.type}' has no image_size; give tile_size")
            self.__dict__["tile_size"] = size  # frozen except for this validator
        return self

    @property
    def typical_length(self) -> int | None:
        """Number of features of a picture with all tiles; None if the image encoder does not say it."""
        usual = self.encoder.typical_length
        rows = math.isqrt(self.max_tiles)
        grid = Grid(rows, self.max_tiles // rows)
        return None if usual is None else self.features_length(grid, self.encoder.out_length(usual))

    def features_length(self, tiles: Grid, features: int) -> int:
        """Number of features of a picture on a grid of ``tiles``.

        Args:
            tiles: Rows and columns of tiles.
            features: Of one tile.
        """
        return joined_length([features, GridLength((1, 1))] * picture_count(tiles))


def picture_count(tiles: Grid) -> int:
    """Return how many pictures the image encoder reads: the tiles, and the thumbnail of more than one."""
    count = tiles.rows * tiles.columns
    return count + 1 if count > 1 else count
