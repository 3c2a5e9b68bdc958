"""One signal to what each tower reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.grids import grids_of
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_fusion.config import FusionConfig, tower_grid

__all__ = ["LENGTH", "FusionProcessor"]

LENGTH = "length"
"""Name of the tensor ``[length, 0]`` of each tower, or ``[rows, columns, 0]`` if the length is one grid: its shape says
the length of the tower's item, and travels to a device, into a batch of frames and back without being read."""


class FusionProcessor(Processor[FusionConfig, Any]):
    """Gives the signal to the processor of each tower.

    Args:
        config: The configuration.
        towers: The processors of the towers.
    """

    def __init__(self, config: FusionConfig, towers: Mapping[str, Processor[Any, Any]]) -> None:
        super().__init__(config)
        self.towers = dict(towers)

    def __call__(self, signal: Any) -> MediaItem:
        """Make the tensors of all towers, named ``tower/name``; the length is the number of joined features.

        Raises:
            DataError: A tower cannot use the signal, or its features are not one grid and must be.
        """
        tensors: dict[str, torch.Tensor] = {}
        lengths: dict[str, int] = {}
        for tower, processor in self.towers.items():
            item = processor(signal)
            tensors |= {f"{tower}/{name}": tensor for name, tensor in item.tensors.items()}
            grids = grids_of(item.length) or ()
            shape = grids[0] if len(grids) == 1 else (item.length,)
            tensors[f"{tower}/{LENGTH}"] = torch.empty(*shape, 0, dtype=torch.uint8)
            lengths[tower] = item.length
        self._check_grids(lengths)
        return MediaItem(tensors, self.config.joined_length(lengths))

    def _check_grids(self, lengths: Mapping[str, int]) -> None:
        if self.config.join != "channels" or self.config.align != "grid":
            return
        for name, tower in self.config.towers.items():
            try:
                tower_grid(name, tower.out_length(lengths[name]))
            except ValueError as error:
                raise DataError(str(error), component=f"encoder/{self.config.type}") from error
