"""The two-layer perceptron.

N = items, L = features of the longest item, D = dimension of the features, E = hidden size of the backbone.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from modrwkv_core.interfaces.component import Adapter
from modrwkv_core.interfaces.values import Features
from modrwkv_mlp.config import MLPConfig

__all__ = ["MLPAdapter"]


class MLPAdapter(Adapter[MLPConfig]):
    """``y = Linear(ReLU(Linear(x)))``, then ``y + LayerNorm(y)``; ``y`` alone without ``norm``.

    The names in the state dict (``pre_norm``, ``mlp.0``, ``mlp.2``) are those of the authors' pretrained checkpoints,
    in which the norm, despite its name, follows the perceptron.

    How it begins decides whether the first phase learns at all (the paper reports runs that never converge).
    The backbone normalizes every token first, so the size of the output matters little, but two things do. The gradient
    through the layer norm grows as ``1 / |y|``: a small y makes the first steps violent, a large y makes them idle.
    And what all tokens share (biases) hides in what they differ. Hence weights whose variance keeps a feature of unit
    scale at unit scale whatever the widths (He et al., arXiv 1502.01852, before the ReLU), and biases of zero.
    """

    def __init__(self, config: MLPConfig, in_dim: int, out_dim: int) -> None:
        super().__init__(config, in_dim, out_dim)
        hidden = config.expansion * out_dim
        first, last = nn.Linear(in_dim, hidden), nn.Linear(hidden, out_dim)
        nn.init.normal_(first.weight, std=math.sqrt(2.0 / in_dim))
        nn.init.normal_(last.weight, std=math.sqrt(1.0 / hidden))
        nn.init.zeros_(first.bias)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(first, nn.ReLU(), last)
        self.pre_norm = nn.LayerNorm(out_dim) if config.norm else None

    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, L, out_dim]``."""
        y_NLE: Tensor = self.mlp(features.values)
        return features.with_values(y_NLE if self.pre_norm is None else y_NLE + self.pre_norm(y_NLE))
