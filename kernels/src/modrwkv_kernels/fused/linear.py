"""Products of tokens with a matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.dispatch import request_for, select

__all__ = ["linear"]


def _fake_linear(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


for _op in ("linear_amx", "linear_sparse", "linear_few"):
    torch.library.define(f"modrwkv_kernels::{_op}", "(Tensor x, Tensor weight) -> Tensor")
    torch.library.register_fake(f"modrwkv_kernels::{_op}", _fake_linear)


def linear(x: Tensor, weight: Tensor, *, sparse: bool = False) -> Tensor:
    """``x @ weight.T``, differentiable.

    In float32 on CPUs, where no gradient is needed, three products take a part of the time of torch's own, which serves
    everything else:

    - `few`: up to eight tokens take the time of reading the weights.
    - `amx`: on processors with AMX units weights that are all bfloat16 numbers, as those of official checkpoints are,
      are multiplied by the three bfloat16 numbers that make up each float32. These products are exact and are summed in
      float32. Only inputs below 1e-33 lose digits, and infinite ones give NaN.
    - `sparse`: zeros of ``x`` are skipped, if it is declared ``sparse`` and 45 % or more of it are zeros. They
      contribute nothing, even where the weights are infinite.

    Args:
        x: `[..., inputs]`.
        weight: `[outputs, inputs]`.
        sparse: Whether many numbers of ``x`` should be zeros, as they are after a relu.

    Returns:
        `[..., outputs]`.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    if weight.dim() != 2 or x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"x is {list(x.shape)} but weight is {list(weight.shape)}; it needs [outputs, inputs]")
    if x.is_cpu and torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight)
    tokens = x.shape[:-1].numel()
    chosen = select("linear", request_for(x, weight, tokens=tokens, outputs=len(weight), sparse=sparse))
    if chosen == "torch":
        return F.linear(x, weight)
    product = getattr(torch.ops.modrwkv_kernels, f"linear_{chosen}")
    y: Tensor = product(x, weight)
    return y
