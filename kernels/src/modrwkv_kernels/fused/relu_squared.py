"""The non-linearity of channel mixing."""

from __future__ import annotations

import torch
from torch import Tensor

from modrwkv_kernels.dispatch import request_for, select

__all__ = ["relu_squared"]


def relu_squared(x: Tensor, *, overwrite: bool = False) -> Tensor:
    """``relu(x)^2``, element by element (Primer, arXiv 2109.08668). Differentiable; keeps only ``x``.

    Args:
        x: Of any shape.
        overwrite: Whether the result may take the memory of ``x``, which is faster on CPUs; only without gradients.
    """
    if select("relu_squared", request_for(x)) == "triton":
        from modrwkv_kernels.fused import relu_squared_triton

        return relu_squared_triton.apply(x)
    # Fresh memory costs more than the arithmetic.
    positive = x.relu_() if overwrite else x.relu()
    return positive.square() if torch.is_grad_enabled() else positive.mul_(positive)
