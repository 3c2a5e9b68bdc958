"""Channel mixing: the two-layer network of each block, over a token and its predecessor.

B = batch size, T = tokens, D = hidden size, F = intermediate size.
"""

from __future__ import annotations

import torch
from modrwkv_kernels import relu_squared
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.linear import Linear
from modrwkv_core.backbones.rwkv7.recompute import recomputable
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes

__all__ = ["ChannelMix"]


class ChannelMix(nn.Module):
    """``value(relu(key(x mixed with the token before))^2)``: RWKV-7 paper, arXiv 2503.14456, section 4.2."""

    def __init__(self, sizes: RWKV7Sizes) -> None:
        super().__init__()
        self.x_k = nn.Parameter(torch.empty(1, 1, sizes.hidden_size))
        self.key = Linear(sizes.hidden_size, sizes.intermediate_size)
        self.value = Linear(sizes.intermediate_size, sizes.hidden_size, sparse=True)

    def mix(self) -> Tensor:
        """Weights of the token before, ``[1, D]``."""
        return self.x_k[0]

    def forward(self, x_k_BTD: Tensor) -> Tensor:
        """Map tokens that are mixed with their predecessors by :meth:`mix`."""
        key_BTF = self.key(x_k_BTD)
        active_BTF = relu_squared(key_BTF, overwrite=not torch.is_grad_enabled())
        recomputable((active_BTF,), lambda: (relu_squared(key_BTF),))
        out_BTD: Tensor = self.value(active_BTF)
        return out_BTD
