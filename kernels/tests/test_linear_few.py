"""Linear layers for few rows: what float64 gives, on every instruction set and all threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import linear
from modrwkv_kernels.capability import native_unavailable_reason
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

pytestmark = pytest.mark.skipif(native_unavailable_reason() is not None, reason=native_unavailable_reason() or "")
BAR = 5e-7
OnThreads = Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]


class Ops(TorchDispatchMode):
    """Sees the ops that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops.append(func)
        return func(*args, **(kwargs or {}))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def run(x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = torch.ops.modrwkv_kernels.linear_few(x, weight)
    return y


def error(x: Tensor, weight: Tensor) -> float:
    exact = x.double() @ weight.double().T
    return ((run(x, weight) - exact).norm() / (exact.norm() + 1e-30)).item()


def worst_error() -> float:
    return max(error(normal(rows, 96), normal(160, 96)) for rows in range(1, 10))


def test_on_every_instruction_set(on_instruction_set: Callable[[str], float]) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, modrwkv_kernels, test_linear_few as test; "
        "print(torch.ops.modrwkv_kernels.wkv7_cpu_isa(), test.worst_error())"
    )
    assert on_instruction_set(script) < BAR


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(0, 20), inputs=st.integers(0, 9), outputs=st.integers(0, 40))
def test_any_rows_and_sizes(rows: int, inputs: int, outputs: int) -> None:
    assert error(normal(1, rows, 32 * inputs), normal(32 * outputs, 32 * inputs)) < BAR


def test_tensors_that_are_not_dense() -> None:
    assert error(normal(128, 4).T, normal(128, 96).T) < BAR


def test_result_does_not_depend_on_threads(on_threads: OnThreads) -> None:
    x, weight = normal(3, 512), normal(608, 512)
    found, expected = on_threads(lambda: run(x, weight))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("rows", "used"), [(1, True), (8, True), (9, False)])
def test_is_used_for_up_to_eight_rows(rows: int, used: bool) -> None:
    with torch.no_grad(), Ops() as seen:
        linear(normal(rows, 64), normal(96, 64))
    assert (torch.ops.modrwkv_kernels.linear_few.default in seen.ops) == used


def test_arguments_of_the_op() -> None:
    with pytest.raises(ValueError, match=r"x is \[2, 32\] but weight is \[96, 64\]"):
        run(normal(2, 32), normal(96, 64))
    with pytest.raises(ValueError, match="multiples of 32"):
        run(normal(2, 48), normal(96, 48))


def test_op_is_registered_correctly() -> None:
    torch.library.opcheck(torch.ops.modrwkv_kernels.linear_few.default, (normal(2, 3, 64), normal(96, 64)))
