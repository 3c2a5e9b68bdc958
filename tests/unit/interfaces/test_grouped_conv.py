"""The positional convolution in 16 bits against float64, and the dtype that it is computed in."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from modrwkv_core.interfaces.grouped_conv import avoid_misaligned_groups

GROUPS, KERNEL = 2, 8


class Convolutions(TorchDispatchMode):
    """Records the dtypes that convolutions are computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in str(func):
            self.dtypes.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def make_conv(channels: int) -> nn.Conv1d:
    torch.manual_seed(0)
    conv = nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2, groups=GROUPS)
    parametrized = nn.utils.parametrizations.weight_norm(conv, name="weight", dim=2)
    avoid_misaligned_groups(parametrized)
    return parametrized


def exact(conv: nn.Conv1d, x: Tensor) -> Tensor:
    weight, bias = conv.weight.detach().double(), conv.bias.detach().double()
    return F.conv1d(x.double(), weight, bias, padding=KERNEL // 2, groups=GROUPS)


def error(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


@pytest.mark.parametrize("channels", [24, 40, 48])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_misaligned_groups_are_computed_in_float32(channels: int, dtype: torch.dtype) -> None:
    conv, x = make_conv(channels).to(dtype), torch.randn(2, channels, 60).to(dtype)
    with Convolutions() as seen:
        y = conv(x)
    assert y.dtype == dtype
    assert set(seen.dtypes) == {torch.float32}
    assert error(y, exact(conv, x)) < torch.finfo(dtype).eps


@torch.no_grad()
def test_misaligned_groups_are_computed_in_float32_under_autocast() -> None:
    conv, x = make_conv(24), torch.randn(2, 24, 60)
    with torch.autocast("cpu", torch.bfloat16), Convolutions() as seen:
        y = conv(x)
    assert y.dtype == torch.bfloat16
    assert set(seen.dtypes) == {torch.float32}
    assert error(y, exact(conv, x)) < torch.finfo(torch.bfloat16).eps


@torch.no_grad()
def test_aligned_groups_and_other_dtypes_are_left_to_torch() -> None:
    with Convolutions() as seen:
        make_conv(64).bfloat16()(torch.randn(1, 64, 60).bfloat16())
        x = torch.randn(1, 24, 60, dtype=torch.float64)
        conv = make_conv(24).double()
        assert error(conv(x), exact(conv, x)) < 1e-14
    assert torch.bfloat16 in seen.dtypes
    assert torch.float32 not in seen.dtypes


def test_gradients_names_and_copies_stay() -> None:
    conv = make_conv(24)
    plain = nn.utils.parametrizations.weight_norm(nn.Conv1d(24, 24, KERNEL, groups=GROUPS), name="weight", dim=2)
    assert conv.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(1, 24, 60)
    with torch.autocast("cpu", torch.bfloat16):
        copied = copy.deepcopy(conv)
        copied(x).float().square().sum().backward()
    assert all(parameter.grad is not None for parameter in copied.parameters())
    assert all(parameter.grad is None for parameter in conv.parameters())
