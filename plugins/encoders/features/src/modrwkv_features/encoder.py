"""The network.

N = items, L = frames of the longest, D = dims of a frame, W = hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_features.config import FeaturesConfig

__all__ = ["FeaturesEncoder"]


class FeaturesEncoder(Encoder[FeaturesConfig]):
    """A linear map of each frame, then convolutions of kernel 3 and stride 2 with GELU, and a layer norm.

    The layer norm gives what follows features of unit scale, as encoders with pretrained weights do.
    """

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embed = nn.Linear(config.in_dim, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 3, stride=2, padding=1) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode ``items`` in one padded batch: ``[N, out_length(L), W]``."""
        x_NLD = pad_sequence([item.tensors["values"] for item in items], batch_first=True)
        lengths = torch.tensor([item.length for item in items])
        values = self.embed(x_NLD.to(self.embed.weight.dtype))
        for convolution in self.convolutions:
            # Zeros after an item are what the convolution pads an item alone with.
            padded = Features(values, lengths).with_values(values).values
            values = functional.gelu(convolution(padded.transpose(1, 2))).transpose(1, 2)
            lengths = (lengths + 1) // 2
        values = self.norm(values)
        return Features(values, lengths).with_values(values)
