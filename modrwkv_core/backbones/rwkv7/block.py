"""One layer of RWKV-7: time mixing and channel mixing, each on a normalised residual stream.

B = rows, T = tokens, D = width, H = heads, N = head size, S = rows or packed sequences.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.channel_mix import ChannelMix
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.backbones.rwkv7.time_mix import TimeMix
from modrwkv_core.backbones.rwkv7.token_shift import Packing, last_tokens

__all__ = ["Block", "LayerState"]


class LayerState(NamedTuple):
    """One layer of a state: ``[S, H, N, N]``, ``[S, D]`` and ``[S, D]``."""

    matrix: Tensor
    time_shift: Tensor
    channel_shift: Tensor


class Block(nn.Module):
    """One layer. The first also normalises the embeddings, of text and of other modalities alike (``ln0``)."""

    def __init__(self, sizes: RWKV7Sizes, layer: int, kernel: str) -> None:
        super().__init__()
        self.ln0 = nn.LayerNorm(sizes.width) if layer == 0 else None
        self.ln1 = nn.LayerNorm(sizes.width)
        self.ln2 = nn.LayerNorm(sizes.width)
        self.att = TimeMix(sizes, layer, kernel)
        self.ffn = ChannelMix(sizes)

    def forward(
        self, x_BTD: Tensor, v_first_BTD: Tensor | None, before: LayerState, packing: Packing | None
    ) -> tuple[Tensor, Tensor, LayerState]:
        """Return the new residual stream, the values of the first layer, and the layer's state."""
        if self.ln0 is not None:
            x_BTD = self.ln0(x_BTD)
        time_BTD = self.ln1(x_BTD)
        out_BTD, v_first_BTD, matrix_SHNN = self.att(time_BTD, v_first_BTD, before.time_shift, before.matrix, packing)
        x_BTD = x_BTD + out_BTD
        channel_BTD = self.ln2(x_BTD)
        x_BTD = x_BTD + self.ffn(channel_BTD, before.channel_shift, packing)
        after = LayerState(matrix_SHNN, last_tokens(time_BTD, packing), last_tokens(channel_BTD, packing))
        return x_BTD, v_first_BTD, after
