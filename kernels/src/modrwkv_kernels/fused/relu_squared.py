"""The non-linearity of channel mixing."""

from __future__ import annotations

from torch import Tensor

from modrwkv_kernels.fused import arguments

__all__ = ["relu_squared"]


def relu_squared(x: Tensor) -> Tensor:
    """``relu(x)^2``, element by element (Primer, arXiv 2109.08668). Differentiable; keeps only ``x``.

    Args:
        x: Of any shape.
    """
    if arguments.runs_triton(x):
        from modrwkv_kernels.fused import relu_squared_triton

        return relu_squared_triton.apply(x)
    return x.relu().square()
