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
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_fusion.config import FusionConfig, grid_side
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
        of_towers = {name: self._encoded(name, tower, items) for name, tower in self._towers().items()}
        if self.config.join == "length":
            joined = [torch.cat(of_item) for of_item in zip(*of_towers.values(), strict=True)]
        else:
            of_items = zip(*of_towers.values(), strict=True)
            joined = [self._on_channels(dict(zip(of_towers, each, strict=True))) for each in of_items]
        lengths = torch.tensor([len(features) for features in joined])
        if len(set(lengths.tolist())) == 1:
            return Features(torch.stack(joined), lengths)
        return Features(pad_sequence(joined, batch_first=True), lengths)

    def _towers(self) -> dict[str, Encoder[Any]]:
        return {name: tower for name, tower in self.towers.items() if isinstance(tower, Encoder)}

    def _encoded(self, name: str, tower: Encoder[Any], items: Sequence[MediaItem]) -> list[Tensor]:
        """Run one tower: for each item ``[L, C]``."""
        own = [_own_item(name, item) for item in items]
        features: Features = tower(own)
        return [values[:length] for values, length in zip(features.values, features.lengths.tolist(), strict=True)]

    def _on_channels(self, features: Mapping[str, Tensor]) -> Tensor:
        """Join the features of one item, by tower ``[L, C]``, where those of the reference lie."""
        count = len(features[self.config.reference_tower])
        return torch.cat([self._aligned(name, each, count) for name, each in features.items()], dim=1)

    def _aligned(self, name: str, features: Tensor, count: int) -> Tensor:
        """Bring the features of a tower ``[L, C]`` to ``[count, C]``."""
        if len(features) == count:
            return features
        if self.config.align == "sequence":
            mode = "area" if count < len(features) else "linear"
            return F.interpolate(features.T[None], size=count, mode=mode)[0].T
        side, wanted = grid_side(name, len(features)), grid_side(self.config.reference_tower, count)
        grid_1CHW = features.T.reshape(1, -1, side, side)
        mode = "area" if wanted < side else "bilinear"
        return F.interpolate(grid_1CHW, size=(wanted, wanted), mode=mode)[0].flatten(1).T


def _own_item(tower: str, item: MediaItem) -> MediaItem:
    prefix = f"{tower}/"
    tensors = {name.removeprefix(prefix): each for name, each in item.tensors.items() if name.startswith(prefix)}
    return MediaItem(tensors, tensors.pop(LENGTH).shape[0])
