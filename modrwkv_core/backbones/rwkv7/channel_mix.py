"""Channel mixing: the two-layer network of each block, over a token and its predecessor.

B = rows, T = tokens, D = width, S = rows or packed sequences.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.backbones.rwkv7.token_shift import Packing, token_shift

__all__ = ["ChannelMix"]


class ChannelMix(nn.Module):
    """``value(relu(key(x mixed with the token before))^2)``: RWKV-7 paper, arXiv 2503.14456, section 4.2."""

    def __init__(self, sizes: RWKV7Sizes) -> None:
        super().__init__()
        self.x_k = nn.Parameter(torch.empty(1, 1, sizes.width))
        self.key = nn.Linear(sizes.width, sizes.ffn, bias=False)
        self.value = nn.Linear(sizes.ffn, sizes.width, bias=False)

    def forward(self, x_BTD: Tensor, before_SD: Tensor, packing: Packing | None) -> Tensor:
        """Mix ``x_BTD``; ``before_SD`` stands before the first tokens."""
        delta_BTD = token_shift(x_BTD, before_SD, packing) - x_BTD
        hidden: Tensor = self.key(torch.addcmul(x_BTD, delta_BTD, self.x_k))
        mixed: Tensor = self.value(hidden.relu().square())
        return mixed
