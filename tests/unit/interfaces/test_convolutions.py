"""Convolutions in 16 bits against float64, and the dtype that they are computed in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from modrwkv_core.interfaces import convolutions
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.convolutions import Float32Convolutions, exact_convolutions


class Seen(TorchDispatchMode):
    """Records the dtypes that convolutions are computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in str(func):
            self.dtypes.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@given(
    channels=st.sampled_from([1, 3, 8, 16, 24]),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 5),
    width=st.sampled_from([1, 2, 9]),
    dtype=st.sampled_from([torch.bfloat16, torch.float16]),
)
@torch.no_grad()
def test_convolutions_in_16_bits_are_right(
    channels: int, kernel: int, stride: int, width: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, 16, (kernel, 1), stride=(stride, 1), groups=1).to(dtype)
    x = torch.randn(2, channels, 20, width).to(dtype)
    with exact_convolutions(conv):
        y = conv(x)
    truth = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), stride=conv.stride)
    assert y.dtype == dtype
    assert torch.linalg.norm(y.double() - truth) <= 4 * torch.finfo(dtype).eps * torch.linalg.norm(truth)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv1d(16, 16, 8, stride=4), (16, 40)),
        (lambda: nn.Conv1d(24, 24, 8, groups=2), (24, 40)),
        (lambda: nn.Conv2d(4, 4, 3), (4, 9, 9)),
        (lambda: nn.Conv3d(4, 4, 2), (4, 5, 5, 5)),
        (lambda: nn.ConvTranspose1d(8, 4, 3), (8, 9)),
        (lambda: nn.ConvTranspose2d(8, 4, 3), (8, 9, 9)),
        (lambda: nn.ConvTranspose3d(8, 4, 2), (8, 4, 4, 4)),
    ],
)
def test_every_kind_is_computed_in_float32_under_autocast(make: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    conv, x = make(), torch.randn(2, *shape)
    with torch.autocast("cpu", torch.bfloat16), Float32Convolutions(), Seen() as seen:
        y = conv(x)
    assert y.dtype == torch.bfloat16
    assert seen.dtypes == {torch.float32}
    y.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in conv.parameters())


@torch.no_grad()
def test_other_dtypes_and_functions_are_left_to_torch() -> None:
    with Float32Convolutions(), Seen() as seen:
        nn.Conv1d(4, 4, 3)(torch.randn(1, 4, 9))
        nn.Conv1d(4, 4, 3).double()(torch.randn(1, 4, 9, dtype=torch.float64))
        assert nn.Linear(4, 4).bfloat16()(torch.ones(1, 4).bfloat16()).dtype == torch.bfloat16
    assert seen.dtypes == {torch.float32, torch.float64}


class Ear(Component):
    """Convolves in a way that AMX units get wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(16, 4, 8, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        heard: Tensor = self.conv(x)
        return heard


@torch.no_grad()
def test_components_that_are_called_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "_are_wrong_here", lambda: True)
    torch.manual_seed(0)
    ear, x = Ear(), torch.linspace(-1, 1, 2 * 16 * 40).view(2, 16, 40)
    exact = ear(x)
    with torch.autocast("cpu", torch.bfloat16), Seen() as seen:
        assert torch.equal(ear(x), exact.bfloat16())
    assert seen.dtypes == {torch.float32}
    heard = ear.bfloat16()(x.bfloat16())
    assert heard.dtype == torch.bfloat16
    assert torch.linalg.norm(heard.float() - exact) < 0.02 * torch.linalg.norm(exact)


def test_only_what_is_wrong_here_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    full, half = nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3).bfloat16()
    monkeypatch.setattr(convolutions, "_are_wrong_here", lambda: True)
    assert isinstance(exact_convolutions(half), Float32Convolutions)
    assert not isinstance(exact_convolutions(full), Float32Convolutions)
    assert not isinstance(exact_convolutions(half.to("meta")), Float32Convolutions)
    assert not isinstance(exact_convolutions(nn.Identity()), Float32Convolutions)
    with torch.autocast("cpu", torch.bfloat16):
        assert isinstance(exact_convolutions(full), Float32Convolutions)
    monkeypatch.setattr(convolutions, "_are_wrong_here", lambda: False)
    assert not isinstance(exact_convolutions(nn.Conv1d(4, 4, 3).bfloat16()), Float32Convolutions)
