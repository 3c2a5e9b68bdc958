"""Products of many tokens with a matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.native import why_missing

__all__ = ["linear", "why_no_amx"]

# Rows that each product is worth its while for, and what inputs and outputs must then be multiples of.
_MOST_FEW, _FEW_BLOCK = 8, 32
_FEWEST_AMX, _AMX_BLOCK = 32, 32
_FEWEST_SPARSE, _SPARSE_BLOCK = 64, 16


def _fake_linear(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


for _op in ("linear_amx", "linear_sparse", "linear_few"):
    torch.library.define(f"modrwkv_kernels::{_op}", "(Tensor x, Tensor weight) -> Tensor")
    torch.library.register_fake(f"modrwkv_kernels::{_op}", _fake_linear)


def why_no_amx() -> str | None:
    """Why the matrix units of the processor do not serve :func:`linear`, or None when they do."""
    missing = why_missing()
    if missing is not None:
        return missing
    if not torch.ops.modrwkv_kernels.amx_usable():
        return "this processor has no AMX units that this process may use"
    return None


_AMX = why_no_amx() is None


def linear(x: Tensor, weight: Tensor, *, sparse: bool = False) -> Tensor:
    """``x @ weight.T``, differentiable.

    In float32 on CPUs, where no gradient is needed, three products take a part of the time of torch's own, which serves
    everything else:

    - Up to eight rows take what reading the weights takes.
    - On processors with AMX units weights that are all bfloat16 numbers, as those of official checkpoints are, are
      multiplied by the three bfloat16 numbers that make up each float32, and the products, which are exact, summed in
      float32. Only inputs below 1e-33 lose digits, and infinite ones give NaN.
    - On others zeros of ``x`` are passed over, if it is said to be ``sparse`` and enough of it is: 45 % or more.
      They are taken to give nothing, infinite weights or not.

    Args:
        x: `[..., inputs]`.
        weight: `[outputs, inputs]`.
        sparse: Whether many numbers of ``x`` should be zeros, as they are behind a relu.

    Returns:
        `[..., outputs]`.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    if weight.dim() != 2 or x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"x is {list(x.shape)} but weight is {list(weight.shape)}; it needs [outputs, inputs]")
    return _product_for(x, weight, sparse)(x, weight)


def _product_for(x: Tensor, weight: Tensor, sparse: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The fastest product that serves."""
    product: Callable[[Tensor, Tensor], Tensor] = F.linear
    if not x.is_cpu or torch.is_autocast_enabled("cpu") or not stages_cpu.serve(x, weight):
        return product
    # Compared one by one, because compilers know nothing else of sizes that vary.
    rows, ops = x.shape[:-1].numel(), torch.ops.modrwkv_kernels
    if 1 <= rows <= _MOST_FEW and _made_of(weight, _FEW_BLOCK):
        product = ops.linear_few
    elif _AMX and rows >= _FEWEST_AMX and _made_of(weight, _AMX_BLOCK):
        product = ops.linear_amx
    elif sparse and rows >= _FEWEST_SPARSE and _made_of(weight, _SPARSE_BLOCK):
        product = ops.linear_sparse
    return product


def _made_of(weight: Tensor, block: int) -> bool:
    return weight.shape[0] % block == weight.shape[1] % block == 0
