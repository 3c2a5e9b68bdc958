"""Products of many tokens with a matrix."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.native import why_missing

__all__ = ["linear", "why_no_amx"]

_FEWEST = 32  # rows that are worth being split
_BLOCK = 32  # that inputs and outputs are multiples of


def _fake_linear(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


torch.library.define("modrwkv_kernels::linear_amx", "(Tensor x, Tensor weight) -> Tensor")
torch.library.register_fake("modrwkv_kernels::linear_amx", _fake_linear)


def why_no_amx() -> str | None:
    """Why the matrix units of the processor do not serve :func:`linear`, or None when they do."""
    missing = why_missing()
    if missing is not None:
        return missing
    if not torch.ops.modrwkv_kernels.amx_usable():
        return "this processor has no AMX units that this process may use"
    return None


_AMX = why_no_amx() is None


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T``, differentiable.

    On processors with AMX units, in float32 and where no gradient is needed, weights that are all bfloat16 numbers, as
    those of official checkpoints are, are multiplied by the three bfloat16 numbers that make up each float32, and the
    products, which are exact, summed in float32. That takes a part of the time of torch's own product, which serves
    everything else. Only inputs below 1e-33 lose digits, and infinite ones give NaN.

    Args:
        x: `[..., inputs]`.
        weight: `[outputs, inputs]`.

    Returns:
        `[..., outputs]`.

    Raises:
        ValueError: The shapes do not fit each other.
    """
    if weight.dim() != 2 or x.dim() == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"x is {list(x.shape)} but weight is {list(weight.shape)}; it needs [outputs, inputs]")
    if _AMX and _served(x, weight):
        y: Tensor = torch.ops.modrwkv_kernels.linear_amx(x, weight)
        return y
    return F.linear(x, weight)


def _served(x: Tensor, weight: Tensor) -> bool:
    return (
        stages_cpu.serve(x, weight)
        and weight.shape[0] % _BLOCK == weight.shape[1] % _BLOCK == 0
        and x.numel() >= _FEWEST * x.shape[-1]
        and not torch.is_autocast_enabled("cpu")
    )
