"""The linear layer.

N = items, L = features of the longest item, D = dim of the features, E = hidden size of the backbone.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from modrwkv_core.interfaces.component import Adapter
from modrwkv_core.interfaces.values import Features
from modrwkv_linear.config import LinearConfig

__all__ = ["LinearAdapter"]


class LinearAdapter(Adapter[LinearConfig]):
    """Maps features to the backbone: ``y = W x + b``.

    The weights begin so that features of unit scale become tokens of unit scale at any widths.

    Source: Liu et al., Visual Instruction Tuning, arXiv 2304.08485, section 4.1.
    """

    def __init__(self, config: LinearConfig, in_dim: int, out_dim: int) -> None:
        super().__init__(config, in_dim, out_dim)
        self.projection = nn.Linear(in_dim, out_dim, bias=config.bias)
        nn.init.normal_(self.projection.weight, std=math.sqrt(1.0 / in_dim))
        if config.bias:
            nn.init.zeros_(self.projection.bias)

    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, L, out_dim]``."""
        y_NLE: Tensor = self.projection(features.values)
        return features.with_values(y_NLE)
