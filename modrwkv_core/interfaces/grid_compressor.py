"""Compressors that work on rows and columns.

G = grids of one size, D = dimension in, E = dimension out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Compressor
from modrwkv_core.interfaces.config import GridCompressorConfig
from modrwkv_core.interfaces.grids import Grid
from modrwkv_core.interfaces.reading_order import reading_order
from modrwkv_core.interfaces.values import Features

__all__ = ["GridCompressor"]

GridCompressorConfigT = TypeVar("GridCompressorConfigT", bound=GridCompressorConfig)


class GridCompressor(Compressor[GridCompressorConfigT], ABC, Generic[GridCompressorConfigT]):
    """Grids of features to smaller grids. A subclass compresses grids of one size; items may have any sizes."""

    @abstractmethod
    def compress(self, x_GRCD: Tensor) -> Tensor:
        """Compress grids ``[G, rows, columns, in_dim]`` to ``[G, rows', columns', out_dim]``.

        Rows' and columns' are those of ``config.out_grid``, and at least one.
        """

    def forward(self, features: Features) -> Features:
        """Compress each grid of each item by itself, and read it in the order of the configuration.

        Raises:
            ComponentError: An item has no grids.
        """
        # Grids of one size are compressed together: the tiles of a picture, the pictures of a batch.
        places: dict[Grid, list[tuple[int, int]]] = {}
        x_of: dict[Grid, list[Tensor]] = {}
        for item, length in enumerate(features.lengths.tolist()):
            place = begin = 0
            for place, grid in enumerate(self._grids(features, item, length)):
                end = begin + grid.rows * grid.columns
                places.setdefault(grid, []).append((item, place))
                x_of.setdefault(grid, []).append(features.values[item, begin:end].reshape(*grid, -1))
                begin = end
        of_items: list[dict[int, Tensor]] = [{} for _ in features.values]
        for grid, each in x_of.items():
            if min(self.config.out_grid(grid)) == 0:
                continue
            compressed = self._read(self.compress(torch.stack(each)))
            for (item, place), y in zip(places[grid], compressed, strict=True):
                of_items[item][place] = y
        nothing_0E = features.values.new_zeros(0, self.config.out_dim(self.in_dim))
        rows = [torch.cat([nothing_0E, *(each[place] for place in sorted(each))]) for each in of_items]
        return Features(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))

    def _read(self, y_GRCE: Tensor) -> Tensor:
        """Return the vectors of grids in their order: ``[G, vectors, out_dim]``."""
        flat = y_GRCE.flatten(1, 2)
        if self.config.order == "rows":
            return flat
        places = torch.tensor(reading_order(self.config.order, Grid(*y_GRCE.shape[1:3])))
        return flat[:, places.to(flat.device, non_blocking=True)]

    def _grids(self, features: Features, item: int, length: int) -> tuple[Grid, ...]:
        grids = None if features.grids is None else features.grids[item]
        if grids is None and length > 0:
            raise ComponentError(
                f"{length} features have no grid of rows and columns",
                component=f"compressor/{self.config.type}",
                hint="let Features carry their grids: Features.with_grids",
            )
        return grids or ()
