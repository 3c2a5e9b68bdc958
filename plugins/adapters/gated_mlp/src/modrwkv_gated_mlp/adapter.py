"""The gated perceptron.

N = items, L = features of the longest item, D = dim of the features, H = inner dim,
E = hidden size of the backbone.
"""

from __future__ import annotations

import math
from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from modrwkv_core.interfaces.component import Adapter
from modrwkv_core.interfaces.values import Features
from modrwkv_gated_mlp.config import GatedMLPConfig

__all__ = ["GatedMLPAdapter"]

SILU_POWER: Final = 0.35578
"""Mean square of SiLU of a standard normal variable."""


class GatedMLPAdapter(Adapter[GatedMLPConfig]):
    """Maps features to the backbone: ``y = down(SiLU(gate(n)) * up(n))`` with ``n = RMSNorm(x)``.

    The norm takes features of any scale; the weights begin so that outputs have unit scale at any widths.

    Source: Shazeer, arXiv 2002.05202, section 2; RMS norm: Zhang and Sennrich, arXiv 1910.07467.
    """

    def __init__(self, config: GatedMLPConfig, in_dim: int, out_dim: int) -> None:
        super().__init__(config, in_dim, out_dim)
        hidden = config.expansion * out_dim
        self.norm = nn.RMSNorm(in_dim, eps=1e-6)
        self.gate = nn.Linear(in_dim, hidden, bias=False)
        self.up = nn.Linear(in_dim, hidden, bias=False)
        self.down = nn.Linear(hidden, out_dim, bias=False)
        nn.init.normal_(self.gate.weight, std=math.sqrt(1.0 / in_dim))
        nn.init.normal_(self.up.weight, std=math.sqrt(1.0 / in_dim))
        nn.init.normal_(self.down.weight, std=math.sqrt(1.0 / (hidden * SILU_POWER)))

    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, L, out_dim]``."""
        x_NLD = self.norm(features.values)
        hidden_NLH = functional.silu(self.gate(x_NLD)) * self.up(x_NLD)
        y_NLE: Tensor = self.down(hidden_NLH)
        return features.with_values(y_NLE)
