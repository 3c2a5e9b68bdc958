"""The network.

N = items, L = frames or features of the longest, F = dims of a frame, C = conv_dim, W = hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from modrwkv_conformer.config import ConformerBaseConfig
from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.values import Features, MediaItem

__all__ = ["ConformerEncoder"]

BRANCH_GAIN: Final = 0.25
"""Of the last map of each residual branch at the beginning."""


class ConformerEncoder(Encoder[ConformerBaseConfig]):
    """Convolutions over time and frequency, Conformer layers, and a layer norm.

    Two things differ from the paper. Convolutions are normalized by vectors, not by batches, so that an item's features
    do not depend on its neighbors. Attention has no positions of its own: the convolutions tell them.

    Source: Gulati et al., Conformer, arXiv 2005.08100, section 2.
    """

    def __init__(self, config: ConformerBaseConfig) -> None:
        super().__init__(config)
        self.subsample = nn.ModuleList()
        channels, bins = 1, config.frame_dim
        for _ in range(config.num_convolutions):
            self.subsample.append(nn.Conv2d(channels, config.conv_dim, 3, stride=2, padding=1))
            channels, bins = config.conv_dim, (bins + 1) // 2
        self.embed = nn.Linear(channels * bins, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self._initialize()

    def _initialize(self) -> None:
        """Begin with features that differ from each other.

        With the usual weights of small gain and biases they would be nearly the same everywhere, and what follows would
        first learn to ignore them. Here the convolutions keep the scale of what varies (He et al., arXiv 1502.01852),
        and branches beside residual connections begin small.
        """
        for convolution in self.subsample:
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.bias is not None
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                is_branch_end = name.startswith("layers.") and module.out_features == self.config.hidden_size
                nn.init.xavier_uniform_(module.weight, gain=BRANCH_GAIN if is_branch_end else 1.0)
                nn.init.zeros_(module.bias)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode ``items`` in one padded batch: ``[N, out_length(L), W]``."""
        frames_NLF = pad_sequence([item.tensors["mel"].T for item in items], batch_first=True)
        lengths = torch.tensor([item.length for item in items])
        x = frames_NLF.to(self.embed.weight.dtype)[:, None]
        for convolution in self.subsample:
            x = functional.gelu(convolution(x))
            lengths = (lengths + 1) // 2
            # Zeros after an item are what the next convolution pads an item alone with.
            x = x * _mask(lengths, x)[:, None, :, None]
        x_NLW = self.dropout(self.embed(x.transpose(1, 2).flatten(2)))
        mask_NL = _mask(lengths, x_NLW)
        for layer in self.layers:
            x_NLW = layer(x_NLW, mask_NL)
        values = self.norm(x_NLW)
        return Features(values, lengths).with_values(values)


def _mask(lengths: Tensor, x: Tensor) -> Tensor:
    """Return ``[N, L]``, true at valid positions, on the device of ``x``, whose last dim but one is L."""
    return torch.arange(x.shape[-2], device=x.device) < lengths.to(x.device, non_blocking=True)[:, None]


class ConformerLayer(nn.Module):
    """Half an MLP, attention, convolution, and half an MLP, each with a residual connection; then a layer norm."""

    def __init__(self, config: ConformerBaseConfig) -> None:
        super().__init__()
        self.first_mlp = _mlp(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.second_mlp = _mlp(config)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, x_NLW: Tensor, mask_NL: Tensor) -> Tensor:
        """Return ``[N, L, W]``; valid positions do not depend on the others."""
        x_NLW = x_NLW + 0.5 * self.first_mlp(x_NLW)
        x_NLW = x_NLW + self.attention(x_NLW, mask_NL)
        x_NLW = x_NLW + self.convolution(x_NLW, mask_NL)
        x_NLW = x_NLW + 0.5 * self.second_mlp(x_NLW)
        normed: Tensor = self.norm(x_NLW)
        return normed


def _mlp(config: ConformerBaseConfig) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(config.hidden_size),
        nn.Linear(config.hidden_size, config.intermediate_size),
        nn.SiLU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.intermediate_size, config.hidden_size),
        nn.Dropout(config.dropout),
    )


class Attention(nn.Module):
    """Self-attention over all valid positions."""

    def __init__(self, config: ConformerBaseConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.norm = nn.LayerNorm(config.hidden_size)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_NLW: Tensor, mask_NL: Tensor) -> Tensor:
        """Return ``[N, L, W]``."""
        heads = self.qkv(self.norm(x_NLW)).unflatten(2, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        dropout = self.dropout.p if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, mask_NL[:, None, None], dropout)
        projected: Tensor = self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        return projected


class Convolution(nn.Module):
    """A gated map, a convolution of each channel over time, and a map."""

    def __init__(self, config: ConformerBaseConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.gated = nn.Linear(width, 2 * width)
        self.depthwise = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.depthwise_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_NLW: Tensor, mask_NL: Tensor) -> Tensor:
        """Return ``[N, L, W]``."""
        gated = functional.glu(self.gated(self.norm(x_NLW))) * mask_NL[..., None]
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        projected: Tensor = self.dropout(self.output(functional.silu(self.depthwise_norm(mixed))))
        return projected
