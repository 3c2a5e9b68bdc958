"""Products of many tokens with a matrix."""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.native import why_missing

__all__ = ["linear", "why_no_amx"]

# For each product the rows that it is worth its while for, and what inputs and outputs are multiples of.
_FEW, _FEW_BLOCK = range(1, 9), 32
_AMX_ROWS, _AMX_BLOCK = range(32, sys.maxsize), 32
_SPARSE_ROWS, _SPARSE_BLOCK = range(64, sys.maxsize), 16


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
    y: Tensor
    if _served(x, weight, _FEW, _FEW_BLOCK):
        y = torch.ops.modrwkv_kernels.linear_few(x, weight)
    elif _AMX and _served(x, weight, _AMX_ROWS, _AMX_BLOCK):
        y = torch.ops.modrwkv_kernels.linear_amx(x, weight)
    elif sparse and _served(x, weight, _SPARSE_ROWS, _SPARSE_BLOCK):
        y = torch.ops.modrwkv_kernels.linear_sparse(x, weight)
    else:
        y = F.linear(x, weight)
    return y


def _served(x: Tensor, weight: Tensor, rows: range, block: int) -> bool:
    return (
        stages_cpu.serve(x, weight)
        and weight.shape[0] % block == weight.shape[1] % block == 0
        and x.numel() // max(1, x.shape[-1]) in rows
        and not torch.is_autocast_enabled("cpu")
    )
