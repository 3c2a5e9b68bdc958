"""A linear layer without a bias, by the products of :mod:`modrwkv_kernels`."""

from __future__ import annotations

from modrwkv_kernels import linear
from torch import Tensor, nn

__all__ = ["Linear"]


class Linear(nn.Linear):
    """``x @ weight.T``.

    Args:
        inputs: Width of ``x``.
        outputs: Width of the result.
        sparse: Whether many numbers of ``x`` are zeros.
    """

    def __init__(self, inputs: int, outputs: int, *, sparse: bool = False) -> None:
        super().__init__(inputs, outputs, bias=False)
        self._sparse = sparse

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., inputs]`` to ``[..., outputs]``."""
        return linear(x, self.weight, sparse=self._sparse)
