"""The official recipe for an RWKV-7 from scratch (RWKV-LM's training code for x070).

Output projections are zero, so that every block begins as the identity; low-rank maps are zero on their first side;
decays and mixing weights are curves over channels and layers. D = hidden size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.channel_mix import ChannelMix
from modrwkv_core.backbones.rwkv7.time_mix import TimeMix

__all__ = ["initialize_channel_mix", "initialize_embedding", "initialize_head", "initialize_time_mix"]


@torch.no_grad()
def initialize_embedding(embedding: nn.Embedding) -> None:
    """Tiny, so that the first updates set the embeddings."""
    nn.init.uniform_(embedding.weight, -1e-4, 1e-4)


@torch.no_grad()
def initialize_head(head: nn.Linear) -> None:
    """Orthogonal, with larger gain the more tokens share a dimension."""
    nn.init.orthogonal_(head.weight, gain=0.5 * max(1.0, math.sqrt(head.out_features / head.in_features)))


@torch.no_grad()
def initialize_time_mix(mix: TimeMix, layer: int, num_layers: int) -> None:
    """Initialise the time mixing of block ``layer`` of ``num_layers``."""
    hidden_size = mix.w0.numel()
    depth = layer / max(1, num_layers - 1)
    rest = 1 - layer / num_layers
    channel_D = torch.arange(hidden_size, device=mix.w0.device, dtype=torch.float32)
    ramp_D = channel_D / (hidden_size - 1)
    centred_D = ramp_D - 0.5
    # Within a head from -1 to 1, flat in the middle: every head gets slow and fast channels.
    position_D = 2 * (channel_D % mix.head_dim) / (mix.head_dim - 1) - 1
    zigzag_D = position_D * position_D.abs()

    for weight, power in (
        (mix.x_r, 0.2),
        (mix.x_w, 0.9),
        (mix.x_k, 0.7),
        (mix.x_v, 0.7),
        (mix.x_a, 0.9),
        (mix.x_g, 0.2),
    ):
        _copy(weight, 1 - (channel_D / hidden_size) ** (power * rest))
    _copy(mix.w0, -5.5 + 6 * ramp_D ** (1 + depth**0.3) + 2.5 * zigzag_D)
    _copy(mix.a0, -0.19 + 0.3 * zigzag_D + 0.4 * centred_D)
    _copy(mix.k_k, 0.71 - 0.1 * centred_D)
    nn.init.constant_(mix.k_a, 1.02)
    nn.init.constant_(mix.r_k, -0.04)

    low_rank = [(mix.w1, mix.w2), (mix.a1, mix.a2), (mix.g1, mix.g2)]
    if layer > 0:
        _copy(mix.v0, 0.73 - 0.4 * centred_D)
        low_rank.append((mix.v1, mix.v2))
    for down, up in low_rank:
        nn.init.zeros_(down)
        nn.init.orthogonal_(up, gain=0.1 * max(1.0, math.sqrt(up.shape[0] / up.shape[1])))

    nn.init.orthogonal_(mix.receptance.weight)
    nn.init.orthogonal_(mix.key.weight, gain=0.1)
    nn.init.orthogonal_(mix.value.weight)
    nn.init.zeros_(mix.output.weight)
    nn.init.constant_(mix.ln_x.weight, ((1 + layer) / num_layers) ** 0.7)


@torch.no_grad()
def initialize_channel_mix(mix: ChannelMix, layer: int, num_layers: int) -> None:
    """Initialise the channel mixing of block ``layer`` of ``num_layers``."""
    hidden_size = mix.x_k.numel()
    channel_D = torch.arange(hidden_size, device=mix.x_k.device, dtype=torch.float32)
    _copy(mix.x_k, 1 - (channel_D / hidden_size) ** (1 - layer / num_layers) ** 4)
    nn.init.orthogonal_(mix.key.weight)
    nn.init.zeros_(mix.value.weight)


def _copy(parameter: Tensor, values_D: Tensor) -> None:
    parameter.copy_(values_D.view_as(parameter))
