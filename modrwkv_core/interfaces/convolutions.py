"""Convolutions in 16 bits that are right on every processor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

__all__ = ["Float32Convolutions", "exact_convolutions"]

HALVES: Final = (torch.bfloat16, torch.float16)

CONVOLUTIONS: Final[frozenset[Any]] = frozenset(
    {F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
)

SUSPECTS: Final = ((16, 1, 8, 4), (8, 1, 8, 1), (24, 2, 8, 1))
"""Channels, groups, kernel and stride of convolutions that AMX units have been seen to compute wrongly."""

WRONG: Final = 0.05
"""Relative error that no rounding to bfloat16 explains."""


class Float32Convolutions(TorchFunctionMode):
    """Computes convolutions on CPUs in float32 that would be computed in 16 bits; results have the same dtype.

    Gradients are computed in float32, too. All other functions, dtypes and devices are left to torch.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call ``func``, if it is a convolution in 16 bits with float32 tensors."""
        kwargs = kwargs or {}
        if func not in CONVOLUTIONS:
            return func(*args, **kwargs)
        x: Tensor = args[0] if args else kwargs["input"]
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if x.device.type != "cpu" or x.dtype == torch.float64 or dtype not in HALVES:
            return func(*args, **kwargs)
        args, kwargs = tree_map(lambda value: value.float() if isinstance(value, Tensor) else value, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs).to(dtype)


def exact_convolutions(module: nn.Module) -> AbstractContextManager[object]:
    """Return what makes a module's convolutions in 16 bits right on this processor: nothing where they are.

    On Xeons with AMX units oneDNN's convolutions in bfloat16 give values that have nothing to do with the inputs for
    many shapes, such as 8 or 16 channels, or a single output column.

    Args:
        module: What will be called; it may be under autocast.

    Source: https://github.com/pytorch/pytorch/issues/169688
    """
    parameter = next(module.parameters(), None)
    if parameter is None or parameter.device.type != "cpu":
        return nullcontext()
    is_half = parameter.dtype in HALVES or torch.is_autocast_enabled("cpu")
    return Float32Convolutions() if is_half and _are_wrong_here() else nullcontext()


@cache
@torch.no_grad()
def _are_wrong_here() -> bool:
    """Whether this processor computes one of the suspects wrongly."""
    with torch.autocast("cpu", enabled=False):
        return any(_relative_error(*suspect) > WRONG for suspect in SUSPECTS)


def _relative_error(channels: int, groups: int, kernel: int, stride: int) -> float:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, 100, generator=random).bfloat16()
    weight = torch.randn(channels, channels // groups, kernel, generator=random).bfloat16()
    exact = F.conv1d(x.float(), weight.float(), stride=stride, groups=groups)
    found = F.conv1d(x, weight, stride=stride, groups=groups).float()
    # A NaN is no number that an error could be compared with.
    return float(torch.linalg.norm(found - exact).nan_to_num(torch.inf) / torch.linalg.norm(exact))
