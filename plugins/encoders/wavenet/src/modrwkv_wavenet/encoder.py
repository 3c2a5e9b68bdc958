"""The network.

N = series, L = points of the longest, C = channels, W = hidden_size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_wavenet.config import WaveNetConfig

__all__ = ["GatedLayer", "WaveNetEncoder"]


class GatedLayer(nn.Module):
    """One layer: a causal dilated convolution, the gated unit, and 1x1 convolutions to the residual and the skip.

    Filter and gate are one convolution of twice the hidden_size, and so are residual and skip.

    Args:
        hidden_size: W.
        kernel: Points that the convolution sees.
        dilation: Distance between them.
        last: The layer has a skip only: nothing follows that would read its residual.

    Source: WaveNet, arXiv 1609.03499, sections 2.1, 2.3 and 2.4.
    """

    def __init__(self, hidden_size: int, kernel: int, dilation: int, last: bool) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.dilated = nn.Conv1d(hidden_size, 2 * hidden_size, kernel, dilation=dilation)
        self.mix = nn.Conv1d(hidden_size, hidden_size if last else 2 * hidden_size, 1)

    def forward(self, x_NWL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next layer's input and the skip, both ``[N, W, L]``."""
        filter_NWL, gate_NWL = self.dilated(functional.pad(x_NWL, (self.past, 0))).chunk(2, dim=1)
        mixed = self.mix(torch.tanh(filter_NWL) * torch.sigmoid(gate_NWL))
        skip_NWL, *residual = mixed.split(x_NWL.shape[1], dim=1)
        return x_NWL + residual[0] if residual else x_NWL, skip_NWL


class WaveNetEncoder(Encoder[WaveNetConfig]):
    """Series to one feature for each point, which depends on that point and those before it only.

    As in the paper but for two things: no quantization (points are real numbers, embedded by a linear map), and a layer
    norm in the end, so that what follows gets features of unit scale, as from encoders with pretrained weights.

    Source: van den Oord et al., WaveNet, arXiv 1609.03499, section 2.
    """

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__(config)
        hidden_size = config.hidden_size
        dilations = [2**i for _ in range(config.blocks) for i in range(config.num_layers)]
        self.embed = nn.Conv1d(config.channels, hidden_size, 1)
        self.layers = nn.ModuleList(
            GatedLayer(hidden_size, config.kernel, dilation, last=i == len(dilations) - 1)
            for i, dilation in enumerate(dilations)
        )
        self.out = nn.Conv1d(hidden_size, hidden_size, 1)
        self.norm = nn.LayerNorm(hidden_size)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode ``items`` in one padded batch: ``[N, L, W]``.

        Every convolution is causal, so padding after a series never reaches its features.
        """
        x_NLC = pad_sequence([item.tensors["values"] for item in items], batch_first=True)
        x_NWL = self.embed(x_NLC.transpose(1, 2).to(self.embed.weight.dtype))
        skips_NWL = torch.zeros_like(x_NWL)
        for layer in self.layers:
            x_NWL, skip_NWL = layer(x_NWL)
            skips_NWL = skips_NWL + skip_NWL
        y_NWL = self.out(torch.relu(skips_NWL / math.sqrt(len(self.layers))))
        y_NLW = self.norm(y_NWL.transpose(1, 2))
        return Features(y_NLW, torch.tensor([item.length for item in items])).with_values(y_NLW)
