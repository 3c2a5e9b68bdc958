"""Fused k update and gates: decay, removal key and replacement key from the projections of a token.

B = batch size, T = tokens, D = hidden size, H = heads, N = head size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from modrwkv_kernels.backend import LOG_DECAY_MIN, compute_dtype
from modrwkv_kernels.dispatch import request_for, select
from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.fused.arguments import check

__all__ = ["KEY_NORM_EPS", "KUpdate", "ValueResidual", "fused_k_update"]

KEY_NORM_EPS = 1e-12
"""Removal keys shorter than this are not scaled to length 1."""


class ValueResidual(NamedTuple):
    """How far values move towards those of the first layer: ``v + (v_first - v) sigmoid(logit)``.

    Attributes:
        v_first: Values of the first layer, `[batch, tokens, hidden]`.
        logit: `[batch, tokens, hidden]`.
    """

    v_first: Tensor
    logit: Tensor


class KUpdate(NamedTuple):
    """Inputs of :func:`modrwkv_kernels.wkv7`, each `[batch, tokens, heads, head size]`."""

    log_w: Tensor
    k: Tensor
    v: Tensor
    a: Tensor
    b: Tensor


def fused_k_update(
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    *,
    head_size: int,
    residual: ValueResidual | None = None,
) -> KUpdate:
    """Compute the inputs of the recurrence (RWKV-7 paper, arXiv 2503.14456, section 4.1).

    With the in-context learning rate ``alpha = sigmoid(rate)`` and the removal key ``kk = k * k_k``, scaled to length 1
    in each head, they are ``log w = -exp(-1/2) sigmoid(decay)``, the replacement key ``k (1 + (alpha - 1) k_a)``,
    ``a = -kk`` and ``b = kk alpha``. Differentiable in every tensor.

    Args:
        k: Key, `[batch, tokens, hidden]`.
        v: Value, shaped like `k`.
        decay: Logit of the decay, shaped like `k`.
        rate: Logit of the in-context learning rate, shaped like `k`.
        k_k: Scale of the removal key, `[hidden]`.
        k_a: How far the learning rate scales the replacement key, `[hidden]`.
        head_size: Width of one head.
        residual: The value residual; None keeps `v`.

    Returns:
        Tensors of the dtype of `k`, except the log-decay, which is float32 (float64 if `k` is): the decay is so close
        to 1 that 16 bits would round it away.

    Raises:
        ValueError: Shapes or devices do not fit each other.
    """
    if k.dim() != 3 or k.shape[-1] % head_size:
        raise ValueError(f"k must be [batch, tokens, a multiple of {head_size}], not {list(k.shape)}")
    for name, x in (("v", v), ("decay", decay), ("rate", rate)):
        check(name, x, k.shape, "k", k)
    check("k_k", k_k, k.shape[-1:], "k", k)
    check("k_a", k_a, k.shape[-1:], "k", k)
    if residual is not None:
        check("v_first", residual.v_first, k.shape, "k", k)
        check("logit", residual.logit, k.shape, "k", k)
    pair = (None, None) if residual is None else residual
    chosen = select("fused_k_update", request_for(k, v, decay, rate, k_k, k_a, *pair, head_size=head_size))
    if chosen == "triton":
        from modrwkv_kernels.fused import k_update_triton

        return k_update_triton.apply(k, v, decay, rate, k_k, k_a, head_size, residual)
    if chosen == "cpu":
        return KUpdate(*stages_cpu.k_update(k, v, decay, rate, k_k, k_a, head_size, *pair))
    return _plain(k, v, decay, rate, k_k, k_a, head_size, residual)


def _plain(
    k_BTD: Tensor,
    v_BTD: Tensor,
    decay_BTD: Tensor,
    rate_BTD: Tensor,
    k_k_D: Tensor,
    k_a_D: Tensor,
    head_size: int,
    residual: ValueResidual | None,
) -> KUpdate:
    def heads(x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:-1], -1, head_size)

    if residual is not None:
        v_BTD = torch.lerp(v_BTD, residual.v_first, residual.logit.sigmoid())
    log_w_BTD = LOG_DECAY_MIN * decay_BTD.to(compute_dtype(k_BTD.dtype)).sigmoid()
    alpha_BTD = rate_BTD.sigmoid()
    removal_BTHN = heads(k_BTD * k_k_D)
    # Written out: torch's normalize has a backward several times as long.
    length_BTH1 = removal_BTHN.square().sum(-1, keepdim=True)
    removal_BTHN = removal_BTHN * length_BTH1.clamp_min(KEY_NORM_EPS**2).rsqrt()
    k_BTD = k_BTD * torch.addcmul(1 - k_a_D, alpha_BTD, k_a_D)
    return KUpdate(heads(log_w_BTD), heads(k_BTD), heads(v_BTD), -removal_BTHN, removal_BTHN * heads(alpha_BTD))
