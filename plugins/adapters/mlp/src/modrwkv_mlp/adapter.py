"""The two-layer perceptron.

N = items, L = features of the longest item, D = dimension of the features, E = hidden size of the backbone.
"""

from __future__ import annotations

import math

import torch
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

    @torch.no_grad()
    def match_embeddings(self, mean_E: Tensor, std_E: Tensor) -> None:
        """With ``init: matched``, scale and shift the output as text embeddings lie, channel by channel.

        Behind the ReLU, features of unit scale have the mean ``1 / sqrt(pi)`` and the mean square 1 at first.
        """
        if self.config.init != "matched":
            return
        last = self.mlp[2]
        assert isinstance(last, nn.Linear)
        if self.pre_norm is not None:
            std_E = std_E / 2  # the perceptron and its norm point in the same direction and add up
            self.pre_norm.weight.fill_(std_E.square().mean().sqrt())
            self.pre_norm.bias.copy_(mean_E)
        last.weight.mul_(std_E[:, None] / math.sqrt(1.0 - 1.0 / math.pi))
        last.bias.copy_(last.weight.sum(1) * -math.sqrt(1.0 / math.pi))
        if self.pre_norm is None:
            last.bias.add_(mean_E)

    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, L, out_dim]``."""
        y_NLE: Tensor = self.mlp(features.values)
        return features.with_values(y_NLE if self.pre_norm is None else y_NLE + self.pre_norm(y_NLE))
