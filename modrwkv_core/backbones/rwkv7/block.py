"""One layer of RWKV-7: time mixing and channel mixing, each on a normalized residual stream.

B = batch size, T = tokens, D = hidden size, H = heads, N = head size, S = batch size or packed sequences, M = mixes.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from modrwkv_kernels import CuSeqlens, token_shift_mix
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.channel_mix import ChannelMix
from modrwkv_core.backbones.rwkv7.recompute import recomputable
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.backbones.rwkv7.time_mix import TimeMix
from modrwkv_core.backbones.rwkv7.token_shift import Tail, last_tokens

__all__ = ["Block", "LayerState"]


class LayerState(NamedTuple):
    """One layer of a state: ``[S, H, N, N]``, ``[S, D]`` and ``[S, D]``."""

    matrix: Tensor
    time_shift: Tensor
    channel_shift: Tensor


class Block(nn.Module):
    """One layer. The first also normalizes the embeddings, of text and of other modalities alike (``ln0``)."""

    def __init__(self, sizes: RWKV7Sizes, layer: int, kernel: str) -> None:
        super().__init__()
        self.ln0 = nn.LayerNorm(sizes.hidden_size) if layer == 0 else None
        self.ln1 = nn.LayerNorm(sizes.hidden_size)
        self.ln2 = nn.LayerNorm(sizes.hidden_size)
        self.att = TimeMix(sizes, layer, kernel)
        self.ffn = ChannelMix(sizes)

    def forward(
        self,
        x_BTD: Tensor,
        v_first_BTD: Tensor | None,
        before: LayerState,
        cu_seqlens: CuSeqlens | None,
        tail: Tail | None = None,
    ) -> tuple[Tensor, Tensor, LayerState]:
        """Return the new residual stream, the values of the first layer, and the layer's state.

        With ``tail`` the stream is that of the last tokens, ``[S, D]``. Of other tokens only what these and the state
        need is computed.
        """
        if self.ln0 is not None:
            x_BTD = self.ln0(x_BTD)
        x_BTD, mixes = _mixed(self.ln1, self.att.mix(), x_BTD, None, before.time_shift, cu_seqlens)
        time_SD = self.ln1(last_tokens(x_BTD, cu_seqlens))
        out_BTD, v_first_BTD, matrix_SHNN = self.att(mixes, v_first_BTD, before.matrix, cu_seqlens, tail)
        if tail is not None:
            x_BTD, cu_seqlens = tail.of(x_BTD), None
        x_BTD, (x_k_BTD,) = _mixed(self.ln2, self.ffn.mix(), x_BTD, out_BTD, before.channel_shift, cu_seqlens)
        channel_SD = self.ln2(last_tokens(x_BTD, cu_seqlens))
        if tail is not None:
            x_BTD, x_k_BTD = tail.last(x_BTD), tail.last(x_k_BTD)
        return x_BTD + self.ffn(x_k_BTD), v_first_BTD, LayerState(matrix_SHNN, time_SD, channel_SD)


def _mixed(
    norm: nn.LayerNorm,
    mix_MD: Tensor,
    x_BTD: Tensor,
    update_BTD: Tensor | None,
    before_SD: Tensor,
    cu_seqlens: CuSeqlens | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Add the update to the residual stream, normalize it, and mix its tokens with their predecessors."""
    mix = partial(
        token_shift_mix,
        before=before_SD,
        mix=mix_MD,
        norm_weight=norm.weight,
        norm_bias=norm.bias,
        cu_seqlens=cu_seqlens,
        eps=norm.eps,
    )
    x_BTD, mixes = mix(x_BTD, update=update_BTD)
    recomputable(mixes, lambda: mix(x_BTD)[1])
    return x_BTD, mixes
