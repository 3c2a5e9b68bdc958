"""Several encoders on one signal, their features joined.

N = items, L = features of an item, C = channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_fusion.config import FusionConfig, tower_grid
from modrwkv_fusion.processor import LENGTH

__all__ = ["FusionEncoder"]


class FusionEncoder(Encoder[FusionConfig]):
    """Runs each tower on its own tensors and joins the features on channels or in length.

    Args:
        config: The configuration.
        towers: The encoders.

    Raises:
        ComponentError: A tower has the name of a method of modules.
    """

    def __init__(self, config: FusionConfig, towers: Mapping[str, Encoder[Any]]) -> None:
        super().__init__(config)
        self.towers = nn.ModuleDict()
        for name, tower in towers.items():
            if hasattr(self.towers, name):  # its methods are attributes beside the towers
                raise ComponentError(
                    f"a tower cannot be called {name!r}", component=f"encoder/{config.type}", hint="choose another name"
                )
            self.towers[name] = tower

    def load_pretrained(self) -> None:
        """Load the pretrained weights of each tower."""
        for tower in self._towers().values():
            tower.load_pretrained()

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the files of all towers."""
        return tuple(file for tower in self._towers().values() for file in tower.pretrained_files())

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode signals: ``values [N, longest, out_dim]``."""
        own = {name: [_own_item(name, item) for item in items] for name in self.towers}
        of_towers = {name: _encoded(tower, own[name]) for name, tower in self._towers().items()}
        joined = [
            self._joined(
                {name: features[index] for name, features in of_towers.items()},
                {name: each[index].length for name, each in own.items()},
            )
            for index in range(len(items))
        ]
        lengths = torch.tensor([len(features) for features in joined])
        if len(set(lengths.tolist())) == 1:
            return Features(torch.stack(joined), lengths)
        return Features(pad_sequence(joined, batch_first=True), lengths)

    def _towers(self) -> dict[str, Encoder[Any]]:
        return {name: tower for name, tower in self.towers.items() if isinstance(tower, Encoder)}

    def _joined(self, features: Mapping[str, Tensor], lengths: Mapping[str, int]) -> Tensor:
        """Join the features of one item, by tower ``[L, C]``, whose items have ``lengths``."""
        if self.config.join == "length":
            return torch.cat(list(features.values()))
        counts = {name: tower.out_length(lengths[name]) for name, tower in self.config.towers.items()}
        return torch.cat([self._aligned(name, each, counts) for name, each in features.items()], dim=1)

    def _aligned(self, name: str, features: Tensor, counts: Mapping[str, int]) -> Tensor:
        """Bring the features of a tower ``[L, C]`` to where those of the reference lie: ``[count, C]``.

        Args:
            name: The tower.
            features: Its features.
            counts: Numbers of features of all towers, with their grids.
        """
        reference = self.config.reference_tower
        count = counts[reference]
        if self.config.align == "sequence":
            if len(features) == count:
                return features
            mode = "area" if count < len(features) else "linear"
            return F.interpolate(features.T[None], size=count, mode=mode)[0].T
        grid, wanted = tower_grid(name, counts[name]), tower_grid(reference, count)
        if grid == wanted:
            return features
        smaller = (min(grid.rows, wanted.rows), min(grid.columns, wanted.columns))
        grid_1CHW = F.interpolate(features.T.reshape(1, -1, *grid), size=smaller, mode="area")
        return F.interpolate(grid_1CHW, size=tuple(wanted), mode="bilinear")[0].flatten(1).T


def _encoded(tower: Encoder[Any], items: Sequence[MediaItem]) -> list[Tensor]:
    """Run one tower: for each item ``[L, C]``."""
    features: Features = tower(items)
    return [values[:length] for values, length in zip(features.values, features.lengths.tolist(), strict=True)]


def _own_item(tower: str, item: MediaItem) -> MediaItem:
    prefix = f"{tower}/"
    tensors = {name.removeprefix(prefix): each for name, each in item.tensors.items() if name.startswith(prefix)}
    *shape, _ = tensors.pop(LENGTH).shape
    return MediaItem(tensors, shape[0] if len(shape) == 1 else GridLength((shape[0], shape[1])))
