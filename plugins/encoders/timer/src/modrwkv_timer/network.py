"""Timer's transformer: a decoder over patches. Modules bear the names of the pretrained weights.

S = sequences (channels of series), T = patches of the longest, P = points of a patch, W = hidden_size, H = num_heads,
K = hidden size of a head.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Timer"]

ROTARY_BASE: Final = 10_000.0
INITIAL_DEVIATION: Final = 0.02


class PatchEmbedding(nn.Module):
    """A linear map of a patch's points.

    Args:
        patch: P.
        hidden_size: W.
    """

    def __init__(self, patch: int, hidden_size: int) -> None:
        super().__init__()
        self.emb = nn.Linear(patch, hidden_size, bias=False)

    def forward(self, patches_STP: Tensor) -> Tensor:
        """Return ``[S, T, W]``."""
        embedded_STW: Tensor = self.emb(patches_STP)
        return embedded_STW


class Attention(nn.Module):
    """Causal attention with rotary positions.

    Args:
        hidden_size: W.
        num_heads: H.

    Source: RoFormer, Su et al., arXiv 2104.09864, section 3.2.2, the two halves of a head rotating against each other.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x_STW: Tensor) -> Tensor:
        """Return ``[S, T, W]``; a patch sees itself and those before it."""
        sequences, patches, hidden_size = x_STW.shape
        q_SHTK, k_SHTK, v_SHTK = (
            project(x_STW).view(sequences, patches, self.heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed_SHTK = functional.scaled_dot_product_attention(_rotated(q_SHTK), _rotated(k_SHTK), v_SHTK, is_causal=True)
        mixed_STW: Tensor = self.o_proj(mixed_SHTK.transpose(1, 2).reshape(sequences, patches, hidden_size))
        return mixed_STW


class GatedMLP(nn.Module):
    """A linear map, gated by the SiLU of another one, and a third back to the hidden_size.

    Args:
        hidden_size: W.
        intermediate_size: Dimension of the hidden layer.

    Source: SwiGLU, Shazeer, arXiv 2002.05202.
    """

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x_STW: Tensor) -> Tensor:
        """Return ``[S, T, W]``."""
        y_STW: Tensor = self.down_proj(functional.silu(self.gate_proj(x_STW)) * self.up_proj(x_STW))
        return y_STW


class Layer(nn.Module):
    """Attention and MLP, each with a residual that is normalized after the sum.

    Args:
        hidden_size: W.
        num_heads: H.
        intermediate_size: Dimension of the hidden layer of the MLP.
    """

    def __init__(self, hidden_size: int, num_heads: int, intermediate_size: int) -> None:
        super().__init__()
        self.self_attn = Attention(hidden_size, num_heads)
        self.ffn_layer = GatedMLP(hidden_size, intermediate_size)
        self.norm1 = nn.LayerNorm(hidden_size)
        self.norm2 = nn.LayerNorm(hidden_size)

    def forward(self, x_STW: Tensor) -> Tensor:
        """Return ``[S, T, W]``."""
        x_STW = self.norm1(x_STW + self.self_attn(x_STW))
        y_STW: Tensor = self.norm2(x_STW + self.ffn_layer(x_STW))
        return y_STW


class Timer(nn.Module):
    """Patches to features that depend on the patch and those before it.

    Args:
        patch: P.
        hidden_size: W.
        num_layers: Number of layers.
        num_heads: H.
        intermediate_size: Dimension of the hidden layer of each MLP.

    Source: Liu et al., Timer, arXiv 2402.02368, section 3.2, in the form of ``thuml/timer-base-84m``.
    """

    def __init__(self, patch: int, hidden_size: int, num_layers: int, num_heads: int, intermediate_size: int) -> None:
        super().__init__()
        self.embed_layer = PatchEmbedding(patch, hidden_size)
        self.layers = nn.ModuleList(Layer(hidden_size, num_heads, intermediate_size) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, patches_STP: Tensor) -> Tensor:
        """Encode ``patches_STP``: ``[S, T, W]``."""
        x_STW = self.embed_layer(patches_STP)
        for layer in self.layers:
            x_STW = layer(x_STW)
        y_STW: Tensor = self.norm(x_STW)
        return y_STW


def _rotated(x_SHTK: Tensor) -> Tensor:
    """Turn the vector at place t by t times the angle of each of its pairs."""
    patches, half = x_SHTK.shape[-2], x_SHTK.shape[-1] // 2
    places_T, pairs = (torch.arange(n, device=x_SHTK.device, dtype=torch.float32) for n in (patches, half))
    angles = torch.outer(places_T, ROTARY_BASE ** (-pairs / half))
    cos, sin = angles.cos().to(x_SHTK.dtype), angles.sin().to(x_SHTK.dtype)
    first, second = x_SHTK.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
