"""The convolution.

N = items, L = features of the longest item, M = outputs of the longest item, D = dimension in, E = dimension out.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from modrwkv_conv1d.config import Conv1dConfig
from modrwkv_core.interfaces.component import Compressor
from modrwkv_core.interfaces.values import Features

__all__ = ["Conv1dCompressor"]


class Conv1dCompressor(Compressor[Conv1dConfig]):
    """Shortens a sequence of features by a strided convolution.

    The weights begin with variance ``1 / (kernel * in_dim)``, so that the outputs keep the scale of the inputs; a
    bias begins at zero.

    Source: ModRWKV, arXiv 2505.14505, section 3.
    """

    def __init__(self, config: Conv1dConfig, in_dim: int) -> None:
        super().__init__(config, in_dim)
        self.conv = nn.Conv1d(
            in_dim,
            config.out_dim(in_dim),
            config.kernel,
            stride=config.stride,
            padding=config.padding,
            bias=config.bias,
        )
        nn.init.normal_(self.conv.weight, std=1.0 / math.sqrt(config.kernel * in_dim))
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, features: Features) -> Features:
        """Compress ``features``, ``[N, L, in_dim]`` to ``[N, M, out_dim]``; items too short for a kernel have none."""
        lengths_N = torch.tensor([self.config.out_length(length) for length in features.lengths.tolist()])
        longest = int(lengths_N.max())
        if longest == 0:
            empty_N0E = features.values.new_zeros(len(lengths_N), 0, self.conv.out_channels)
            return Features(empty_N0E, lengths_N)
        # What lies after an item's end must weigh nothing: kernels at the end of a padded item reach into it.
        x_NLD = features.with_values(features.values).values
        y_NME = self.conv(x_NLD.transpose(1, 2)).transpose(1, 2)[:, :longest]
        return Features(y_NME, lengths_N).with_values(y_NME)
