"""What the fused functions have in common: checks of their arguments, and the choice between torch and Triton."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["check", "runs_triton"]

_TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def check(name: str, x: Tensor, expected: Sequence[int], reference_name: str, reference: Tensor) -> None:
    """Compare a tensor's shape and device with what a reference tensor asks for.

    Raises:
        ValueError: They differ.
    """
    if list(x.shape) != list(expected):
        raise ValueError(
            f"{name} is {list(x.shape)} but {reference_name} is {list(reference.shape)}; it needs {list(expected)}"
        )
    if x.device != reference.device:
        raise ValueError(f"{name} is on {x.device} but {reference_name} is on {reference.device}")


def runs_triton(x: Tensor) -> bool:
    """Whether the Triton kernels serve this tensor."""
    return x.is_cuda and x.dtype in _TRITON_DTYPES
