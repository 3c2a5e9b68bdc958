"""Timer's transformer: a decoder over patches. Modules bear the names of the published weights.

S = sequences (channels of series), T = patches of the longest, P = points of a patch, W = width, H = heads,
K = width of a head.
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
        width: W.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Linear(patch, width, bias=False)

    def forward(self, patches_STP: Tensor) -> Tensor:
        """Return ``[S, T, W]``."""
        embedded_STW: Tensor = self.emb(patches_STP)
        return embedded_STW


class Attention(nn.Module):
    """Causal attention with rotary positions.

    Args:
        width: W.
        heads: H.

    Source: RoFormer, Su et al., arXiv 2104.09864, section 3.2.2, the two halves of a head rotating against each other.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x_STW: Tensor) -> Tensor:
        """Return ``[S, T, W]``; a patch sees itself and those before it."""
        sequences, patches, width = x_STW.shape
        q_SHTK, k_SHTK, v_SHTK = (
            project(x_STW).view(sequences, patches, self.heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed_SHTK = functional.scaled_dot_product_attention(_rotated(q_SHTK), _rotated(k_SHTK), v_SHTK, is_causal=True)
        mixed_STW: Tensor = self.o_proj(mixed_SHTK.transpose(1, 2).reshape(sequences, patches, width))
        return mixed_STW


class GatedMLP(nn.Module):
    """A linear map, gated by the SiLU of another one, and a third back to the width.

    Args:
        width: W.
        mlp_width: Width inside.

    Source: SwiGLU, Shazeer, arXiv 2002.05202.
    """

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, mlp_width, bias=False)
        self.up_proj = nn.Linear(width, mlp_width, bias=False)
        self.down_proj = nn.Linear(mlp_width, width, bias=False)

    def forward(self, x_STW: Tensor) -> Tensor:
        """Return ``[S, T, W]``."""
        y_STW: Tensor = self.down_proj(functional.silu(self.gate_proj(x_STW)) * self.up_proj(x_STW))
        return y_STW


class Layer(nn.Module):
    """Attention and MLP, each with a residual that is normalised behind the sum.

    Args:
        width: W.
        heads: H.
        mlp_width: Width inside the MLP.
    """

    def __init__(self, width: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.ffn_layer = GatedMLP(width, mlp_width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x_STW: Tensor) -> Tensor:
        """Return ``[S, T, W]``."""
        x_STW = self.norm1(x_STW + self.self_attn(x_STW))
        y_STW: Tensor = self.norm2(x_STW + self.ffn_layer(x_STW))
        return y_STW


class Timer(nn.Module):
    """Patches to features that depend on the patch and those before it.

    Args:
        patch: P.
        width: W.
        layers: Number of layers.
        heads: H.
        mlp_width: Width inside a layer's MLP.

    Source: Liu et al., Timer, arXiv 2402.02368, section 3.2, in the form of the published ``thuml/timer-base-84m``.
    """

    def __init__(self, patch: int, width: int, layers: int, heads: int, mlp_width: int) -> None:
        super().__init__()
        self.embed_layer = PatchEmbedding(patch, width)
        self.layers = nn.ModuleList(Layer(width, heads, mlp_width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
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
