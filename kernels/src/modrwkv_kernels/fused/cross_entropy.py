"""Cross-entropy of a large vocabulary without its logits: output projection and loss, a chunk of tokens at a time.

The logits of a chunk of tokens are turned into their gradient in place, and that into its share of the gradients of
hidden vectors and weights. So neither pass ever holds the logits of all tokens, and none are computed twice
(as in Liger Kernel, arXiv 2410.10989, section 3).

n = tokens, D = hidden size, V = vocabulary size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modrwkv_kernels.backend import compute_dtype
from modrwkv_kernels.dispatch import request_for, select
from modrwkv_kernels.fused.arguments import check

__all__ = ["linear_cross_entropy"]

MAX_LOGITS = {"cpu": 2**26, "cuda": 2**28}
"""Logits that may exist at one time by type of device: 1,024 or 4,096 tokens of a vocabulary of 65,536."""


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies, in nats, of ``targets`` under the logits ``hidden @ weight.T``.

    Differentiable in ``hidden`` and ``weight``, once. The logits have the dtype of `hidden`, or autocast's; all sums,
    and the gradient of the weight, are accumulated in float32 (float64 for float64).

    Args:
        hidden: `[tokens, hidden]`.
        weight: Output projection, `[vocabulary, hidden]`.
        targets: Ids, int64 `[tokens]`.

    Returns:
        A scalar, float32 or float64.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit each other.
    """
    if hidden.dim() != 2 or weight.dim() != 2:
        raise ValueError(
            f"hidden must be [tokens, hidden] and weight [vocabulary, hidden], not {list(hidden.shape)} and "
            f"{list(weight.shape)}"
        )
    check("weight", weight, [len(weight), hidden.shape[1]], "hidden", hidden)
    check("targets", targets, hidden.shape[:1], "hidden", hidden)
    if targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64, not {targets.dtype}")
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    differentiates = torch.is_grad_enabled()
    loss: Tensor = torch.ops.modrwkv_kernels.linear_cross_entropy(
        hidden.to(dtype),
        weight.to(dtype),
        targets,
        max(1, MAX_LOGITS.get(device, MAX_LOGITS["cpu"]) // len(weight)),
        differentiates and hidden.requires_grad,
        differentiates and weight.requires_grad,
    )[0]
    return loss


def _forward(
    hidden_nD: Tensor, weight_VD: Tensor, ids_n: Tensor, chunk_size: int, for_hidden: bool, for_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    sum_dtype = compute_dtype(hidden_nD.dtype)
    loss = hidden_nD.new_zeros((), dtype=sum_dtype)
    dhidden_nD = torch.empty_like(hidden_nD) if for_hidden else hidden_nD.new_empty(0)
    dweight_VD: Tensor | None = None
    with torch.autocast(hidden_nD.device.type, enabled=False):
        for start in range(0, len(hidden_nD), chunk_size):
            chunk = slice(start, start + chunk_size)
            logits_nV = hidden_nD[chunk] @ weight_VD.mT
            losses_n, dlogits_nV = _loss_and_gradient(logits_nV, ids_n[chunk], for_hidden or for_weight)
            loss += losses_n.sum()
            if for_hidden:
                torch.mm(dlogits_nV, weight_VD, out=dhidden_nD[chunk])
            if for_weight:
                dweight_VD = _accumulate(dweight_VD, dlogits_nV, hidden_nD[chunk], sum_dtype)
    if dweight_VD is None:
        dweight_VD = torch.zeros_like(weight_VD) if for_weight else weight_VD.new_empty(0)
    return loss, dhidden_nD, dweight_VD.to(weight_VD.dtype)


def _loss_and_gradient(logits_nV: Tensor, ids_n: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of each token, and the gradient of their sum in place of the logits."""
    if select("linear_cross_entropy", request_for(logits_nV)) == "triton":
        from modrwkv_kernels.fused import cross_entropy_triton

        return cross_entropy_triton.loss_and_gradient(logits_nV, ids_n, with_gradient)
    logs_nV = torch.log_softmax(logits_nV, dim=-1, dtype=compute_dtype(logits_nV.dtype))
    losses_n = -logs_nV.gather(1, ids_n.unsqueeze(1)).squeeze(1)
    if with_gradient:
        torch.exp(logs_nV, out=logs_nV)
        logs_nV[torch.arange(len(ids_n), device=ids_n.device), ids_n] -= 1
    return losses_n, logs_nV.to(logits_nV.dtype)


def _accumulate(sum_VD: Tensor | None, dlogits_nV: Tensor, hidden_nD: Tensor, dtype: torch.dtype) -> Tensor:
    """Add a chunk's share to the gradient of the weight."""
    if hidden_nD.dtype == dtype:
        return dlogits_nV.mT @ hidden_nD if sum_VD is None else sum_VD.addmm_(dlogits_nV.mT, hidden_nD)
    if hidden_nD.is_cuda:
        if sum_VD is None:
            return torch.mm(dlogits_nV.mT, hidden_nD, out_dtype=dtype)
        return torch.addmm(sum_VD, dlogits_nV.mT, hidden_nD, out_dtype=dtype)
    share_VD = (dlogits_nV.mT @ hidden_nD).to(dtype)
    return share_VD if sum_VD is None else sum_VD.add_(share_VD)


def _fake_forward(
    hidden_nD: Tensor, weight_VD: Tensor, ids_n: Tensor, chunk_size: int, for_hidden: bool, for_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        hidden_nD.new_empty((), dtype=compute_dtype(hidden_nD.dtype)),
        torch.empty_like(hidden_nD) if for_hidden else hidden_nD.new_empty(0),
        torch.empty_like(weight_VD) if for_weight else weight_VD.new_empty(0),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *_, ctx.for_hidden, ctx.for_weight = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[1:])


def _differentiate(ctx: Any, dloss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    dhidden_nD, dweight_VD = ctx.saved_tensors
    return (
        dhidden_nD * dloss.to(dhidden_nD.dtype) if ctx.for_hidden else None,
        dweight_VD * dloss.to(dweight_VD.dtype) if ctx.for_weight else None,
        None,
        None,
        None,
        None,
    )


_NAME = "modrwkv_kernels::linear_cross_entropy"
torch.library.define(
    _NAME,
    "(Tensor hidden, Tensor weight, Tensor targets, int chunk_size, bool for_hidden, bool for_weight) -> "
    "(Tensor loss, Tensor dhidden, Tensor dweight)",
)
torch.library.impl(_NAME, "default", _forward)
torch.library.register_fake(_NAME, _fake_forward)
torch.library.register_autograd(_NAME, _differentiate, setup_context=_save)
