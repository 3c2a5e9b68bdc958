"""The Perceiver resampler.

N = items, L = features of the longest item, Q = queries, D = dim of the features,
E = hidden size of the backbone.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Adapter
from modrwkv_core.interfaces.values import Features
from modrwkv_resampler.config import ResamplerConfig

__all__ = ["ResamplerAdapter"]

QUERY_SCALE: Final = 0.1
"""Standard deviation of fresh queries. What is gathered is added to them: with larger queries all items begin as the
same tokens, with smaller ones all tokens of an item begin the same."""


class ResamplerLayer(nn.Module):
    """The queries look once at the features and at one another, then pass a perceptron; both with a residual."""

    def __init__(self, hidden_size: int, num_heads: int, expansion: int) -> None:
        super().__init__()
        self.norm_features = nn.LayerNorm(hidden_size)
        self.norm_queries = nn.LayerNorm(hidden_size)
        self.attention = nn.MultiheadAttention(hidden_size, num_heads, bias=False, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(hidden_size),
            nn.Linear(hidden_size, expansion * hidden_size, bias=False),
            nn.GELU(),
            nn.Linear(expansion * hidden_size, hidden_size, bias=False),
        )

    def forward(self, queries_NQE: Tensor, x_NLE: Tensor, hidden: Tensor) -> Tensor:
        """Return the queries after their look; ``hidden [N, L + Q]`` is true at keys that nobody may see."""
        asking_NQE = self.norm_queries(queries_NQE)
        keys = torch.cat([self.norm_features(x_NLE), asking_NQE], dim=1)
        seen_NQE, _ = self.attention(asking_NQE, keys, keys, key_padding_mask=hidden, need_weights=False)
        queries_NQE = queries_NQE + seen_NQE
        out: Tensor = queries_NQE + self.mlp(queries_NQE)
        return out


class ResamplerAdapter(Adapter[ResamplerConfig]):
    """Gathers the features of an item into a fixed number of tokens.

    Features are projected to the backbone's hidden size. In every layer the queries are keys too, as in Flamingo.

    Source: Alayrac et al., the Perceiver resampler of Flamingo, arXiv 2204.14198.

    Raises:
        ComponentError: The num_heads do not divide ``out_dim``.
    """

    def __init__(self, config: ResamplerConfig, in_dim: int, out_dim: int) -> None:
        super().__init__(config, in_dim, out_dim)
        if out_dim % config.num_heads:
            raise ComponentError(
                f"{config.num_heads} num_heads do not divide the backbone's hidden size {out_dim}",
                component="adapter/resampler",
                hint="choose a number of num_heads that does",
            )
        self.project = nn.Linear(in_dim, out_dim, bias=False)
        self.queries = nn.Parameter(QUERY_SCALE * torch.randn(config.queries, out_dim))
        self.layers = nn.ModuleList(
            ResamplerLayer(out_dim, config.num_heads, config.expansion) for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, queries, out_dim]``; items without features get no tokens."""
        lengths_N = torch.tensor([self.config.out_length(length) for length in features.lengths.tolist()])
        x_NLE = self.project(features.with_values(features.values).values)
        queries_NQE = self.queries.expand(len(lengths_N), -1, -1)
        padding_NL = ~features.mask()
        hidden = torch.cat([padding_NL, padding_NL.new_zeros(queries_NQE.shape[:2])], dim=1)
        for layer in self.layers:
            queries_NQE = layer(queries_NQE, x_NLE, hidden)
        tokens_NQE = self.norm(queries_NQE)[:, : int(lengths_N.max())]
        return Features(tokens_NQE, lengths_N).with_values(tokens_NQE)
