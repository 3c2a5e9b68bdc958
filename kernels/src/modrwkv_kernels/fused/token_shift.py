"""Token shift: every token is mixed with the one before it, channel by channel, on a normalized residual stream.

B = batch size, T = tokens, D = hidden size, S = batch size or packed sequences, M = mixes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.cu_seqlens import CuSeqlens
from modrwkv_kernels.dispatch import request_for, select
from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.fused.arguments import check

__all__ = ["token_shift_mix"]


def token_shift_mix(
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    *,
    update: Tensor | None = None,
    cu_seqlens: CuSeqlens | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Add an update to the residual stream, normalize it, and mix each token with its predecessor.

    With ``n = layer_norm(x + update)`` and its predecessor ``p`` the mix of each row ``m`` of ``mix`` is
    ``n + (p - n) m`` (RWKV-7 paper, arXiv 2503.14456, section 4.1). Differentiable in all tensors.

    Args:
        x: Residual stream, `[batch, tokens, hidden]`; packed `[1, tokens of all sequences, hidden]`.
        before: The normalized predecessor of the first tokens, `[batch, hidden]`, packed `[sequences, hidden]`.
        mix: Weights of the predecessor, `[mixes, hidden]`.
        norm_weight: Scale of the layer norm, `[hidden]`.
        norm_bias: Its bias, `[hidden]`.
        update: Shaped like `x`; None adds nothing.
        cu_seqlens: Where packed sequences lie; none may be empty.
        eps: Of the layer norm.

    Returns:
        The sum `x + update`, and one tensor shaped like `x` for each mix. On CUDA devices the mixes have autocast's
        dtype where it is enabled.

    Raises:
        ValueError: Shapes or devices do not fit each other.
    """
    if x.dim() != 3:
        raise ValueError(f"x must be [batch, tokens, hidden], not {list(x.shape)}")
    batch, tokens, width = x.shape
    if cu_seqlens is not None and (batch != 1 or cu_seqlens.tokens != tokens):
        raise ValueError(
            f"with cu_seqlens the tokens are packed, [1, {cu_seqlens.tokens}, hidden], but x is {list(x.shape)}"
        )
    check("before", before, [batch if cu_seqlens is None else cu_seqlens.sequences, width], "x", x)
    check("mix", mix, [len(mix), width], "x", x)
    check("norm_weight", norm_weight, [width], "x", x)
    check("norm_bias", norm_bias, [width], "x", x)
    if update is not None:
        check("update", update, x.shape, "x", x)
    chosen = select("token_shift_mix", request_for(x, before, mix, norm_weight, norm_bias, update))
    if chosen == "triton":
        from modrwkv_kernels.fused import token_shift_triton

        starts = None if cu_seqlens is None else cu_seqlens.sequence_starts
        return token_shift_triton.apply(x, before, mix, norm_weight, norm_bias, update, starts, eps)
    first = None if cu_seqlens is None else cu_seqlens.first
    if chosen == "cpu":
        return stages_cpu.token_shift(x, before, mix, norm_weight, norm_bias, update, first, eps)
    return _plain(x, before, mix, norm_weight, norm_bias, update, first, eps)


def _plain(
    x_BTD: Tensor,
    before_SD: Tensor,
    mix_MD: Tensor,
    norm_weight_D: Tensor,
    norm_bias_D: Tensor,
    update_BTD: Tensor | None,
    first_S: Tensor | None,
    eps: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    if update_BTD is not None:
        x_BTD = x_BTD + update_BTD
    normed_BTD = F.layer_norm(x_BTD, norm_weight_D.shape, norm_weight_D, norm_bias_D, eps)
    if first_S is None:
        previous_BTD = torch.cat((before_SD.unsqueeze(1), normed_BTD[:, :-1]), dim=1)
    else:
        previous_BTD = normed_BTD.roll(1, dims=1).index_copy_(1, first_S, before_SD.unsqueeze(0))
    delta_BTD = previous_BTD - normed_BTD
    return x_BTD, tuple(torch.addcmul(normed_BTD, delta_BTD, weight_D) for weight_D in mix_MD.unbind())
