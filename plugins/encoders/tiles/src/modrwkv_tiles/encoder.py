"""Tiles to features.

N = pictures, T = tiles of a picture and its thumbnail, P = features of a tile, D = width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.grids import Grid
from modrwkv_core.interfaces.images_encoder import ImagesEncoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_tiles.config import TilesConfig, picture_count
from modrwkv_tiles.processor import PREFIX, SHAPE

__all__ = ["TilesEncoder"]


class TilesEncoder(ImagesEncoder[TilesConfig]):
    """Reads the thumbnail and each tile with an image encoder, and puts a learned separator after each.

    Args:
        config: The configuration.
        encoder: The image encoder.
    """

    def __init__(self, config: TilesConfig, encoder: Encoder[Any]) -> None:
        super().__init__(config, encoder)
        self.after_thumbnail = nn.Parameter(torch.randn(config.out_dim) * config.out_dim**-0.5)
        self.after_tile = nn.Parameter(torch.randn(config.out_dim) * config.out_dim**-0.5)
        self.after_row = nn.Parameter(torch.randn(config.out_dim) * config.out_dim**-0.5)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode pictures: ``values [N, longest T * (P + 1), D]``, thumbnail first, then the tiles row by row."""
        grids = [Grid(*item.tensors[SHAPE].shape[:2]) for item in items]
        features: Features = self.encoder([picture for item in items for picture in _pictures(item)])
        tiles = [values[:length] for values, length in zip(features.values, features.lengths.tolist(), strict=True)]
        counts = [picture_count(grid) for grid in grids]
        begins = [sum(counts[:index]) for index in range(len(counts))]
        rows = [
            self._joined(grid, tiles[begin : begin + count])
            for grid, begin, count in zip(grids, begins, counts, strict=True)
        ]
        return Features(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    def _joined(self, grid: Grid, tiles_PD: Sequence[Tensor]) -> Tensor:
        """Join thumbnail and tiles of one picture, each followed by its separator: ``[T * (P + 1), D]``."""
        separators = [self.after_tile] * (grid.columns - 1) + [self.after_row]
        separators *= grid.rows
        if len(tiles_PD) > len(separators):
            separators.insert(0, self.after_thumbnail)
        pairs = zip(tiles_PD, separators, strict=True)
        return torch.cat([part for tile, separator in pairs for part in (tile, separator[None].to(tile.dtype))])


def _pictures(item: MediaItem) -> Iterator[MediaItem]:
    """Yield the image encoder's items of a picture."""
    rows, columns, length, _ = item.tensors[SHAPE].shape
    tensors = {name.removeprefix(PREFIX): each for name, each in item.tensors.items() if name != SHAPE}
    for index in range(picture_count(Grid(rows, columns))):
        yield MediaItem({name: each[index] for name, each in tensors.items()}, length)
