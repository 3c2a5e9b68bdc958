"""Output gating: from the outputs of the recurrence to the input of the output projection.

B = batch size, T = tokens, D = hidden size, H = heads, N = head size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.dispatch import request_for, select
from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.fused.arguments import check

__all__ = ["gate_output"]


def gate_output(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    *,
    eps: float,
) -> Tensor:
    """Normalize each head, add the bonus of the current token, and gate (RWKV-7 paper, arXiv 2503.14456, section 4.1).

    That is ``(group_norm(y) + (r . (k r_k)) v) gate`` with the inner product taken in each head. Differentiable in
    every tensor.

    Args:
        y: Output of the recurrence, `[batch, tokens, heads, head size]`.
        r: Receptance, shaped like `y`.
        k: Replacement key, shaped like `y`.
        v: Value, shaped like `y`.
        gate: `[batch, tokens, hidden]`.
        r_k: Weight of the bonus, `[heads, head size]`.
        norm_weight: Scale of the group norm, `[hidden]`.
        norm_bias: Its bias, `[hidden]`.
        eps: Of the group norm.

    Returns:
        `[batch, tokens, hidden]`, typed like `gate`.

    Raises:
        ValueError: Shapes or devices do not fit each other.
    """
    if y.dim() != 4:
        raise ValueError(f"y must be [batch, tokens, heads, head size], not {list(y.shape)}")
    batch, tokens, heads, size = y.shape
    for name, x in (("r", r), ("k", k), ("v", v)):
        check(name, x, y.shape, "y", y)
    check("gate", gate, [batch, tokens, heads * size], "y", y)
    check("r_k", r_k, [heads, size], "y", y)
    check("norm_weight", norm_weight, [heads * size], "y", y)
    check("norm_bias", norm_bias, [heads * size], "y", y)
    chosen = select("gate_output", request_for(y, r, k, v, gate, r_k, norm_weight, norm_bias, head_size=size))
    if chosen == "triton":
        from modrwkv_kernels.fused import gate_output_triton

        return gate_output_triton.apply(y, r, k, v, gate, r_k, norm_weight, norm_bias, eps)
    if chosen == "cpu":
        return stages_cpu.gate_output(y, r, k, v, gate, r_k, norm_weight, norm_bias, eps)
    return _plain(y, r, k, v, gate, r_k, norm_weight, norm_bias, eps)


def _plain(
    y_BTHN: Tensor,
    r_BTHN: Tensor,
    k_BTHN: Tensor,
    v_BTHN: Tensor,
    gate_BTD: Tensor,
    r_k_HN: Tensor,
    norm_weight_D: Tensor,
    norm_bias_D: Tensor,
    eps: float,
) -> Tensor:
    # Group normalization over heads, as layer normalization of each head, which is many times faster on CPUs.
    y_BTD = F.layer_norm(y_BTHN, y_BTHN.shape[-1:], eps=eps).flatten(2)
    y_BTD = torch.addcmul(norm_bias_D, y_BTD, norm_weight_D)
    bonus_BTH1 = (r_BTHN * k_BTHN * r_k_HN).sum(-1, keepdim=True)
    y_BTD = y_BTD + (bonus_BTH1 * v_BTHN).flatten(2)
    return y_BTD * gate_BTD
