"""Linear layers for inputs that are largely zeros: what float64 gives, on every instruction set and all threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import linear
from modrwkv_kernels.capability import amx_unavailable_reason, native_unavailable_reason
from torch import Tensor

pytestmark = pytest.mark.skipif(native_unavailable_reason() is not None, reason=native_unavailable_reason() or "")
BAR = 5e-7
OnThreads = Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def sparse(*shape: int, density: float) -> Tensor:
    """Normal numbers, as many of them as that; of the rows the first is full and the last empty."""
    live = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) < density
    live[..., 0, :], live[..., -1, :] = True, False
    return normal(*shape) * live


def run(x: Tensor, weight: Tensor) -> Tensor:
    y: Tensor = torch.ops.modrwkv_kernels.linear_sparse(x, weight)
    return y


def error(x: Tensor, weight: Tensor) -> float:
    exact = x.double() @ weight.double().T
    return ((run(x, weight) - exact).norm() / (exact.norm() + 1e-30)).item()


def worst_error() -> float:
    """Over sizes that fill spans and panels of every instruction set, just miss them and pass them."""
    sizes = [(40, 64, 48), (40, 48, 96), (40, 80, 128), (40, 192, 192), (600, 16, 16), (33, 400, 208)]
    return max(error(sparse(r, i, density=0.4), normal(o, i)) for r, i, o in sizes)


def test_on_every_instruction_set(on_instruction_set: Callable[[str], float]) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, modrwkv_kernels, test_linear_sparse as test; "
        "print(torch.ops.modrwkv_kernels.wkv7_cpu_isa(), test.worst_error())"
    )
    assert on_instruction_set(script) < BAR


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 70), inputs=st.integers(0, 20), outputs=st.integers(0, 20), density=st.floats(0.0, 1.0))
def test_zeros_are_all_that_is_passed_over(rows: int, inputs: int, outputs: int, density: float) -> None:
    assert error(sparse(1, rows, 16 * inputs, density=density), normal(16 * outputs, 16 * inputs)) < BAR


def test_more_rows_than_are_listed_at_once() -> None:
    assert error(sparse(1030, 128, density=0.3), normal(112, 128)) < BAR


def test_tensors_that_are_not_dense() -> None:
    x, weight = sparse(128, 40, density=0.3), normal(128, 96)
    assert error(x.T, weight.T) < BAR


def test_a_zero_gives_nothing_and_what_is_no_number_stays_so() -> None:
    x, weight = sparse(40, 64, density=0.0), normal(48, 64)
    x[0], x[0, 5], x[3, 7] = 0.0, 2.0, torch.nan
    weight[:, 6] = torch.inf
    y = run(x, weight)
    assert torch.equal(y[0], 2 * weight[:, 5])
    assert y[3].isnan().all()
    assert not y[4:].any()


def test_few_zeros_take_all_to_torch() -> None:
    x, weight = normal(40, 64), normal(48, 64)
    x[:, 6], weight[:, 6] = 0.0, torch.inf
    assert run(x, weight).isnan().all()
    x[:, :28] = 0.0
    assert run(x, weight).isnan().all()
    x[:, :32] = 0.0
    assert run(x, weight).isfinite().all()


def test_result_does_not_depend_on_threads(on_threads: OnThreads) -> None:
    x, weight = sparse(100, 256, density=0.4), normal(160, 256)
    found, expected = on_threads(lambda: run(x, weight))
    assert torch.equal(found, expected)


@pytest.mark.skipif(amx_unavailable_reason() is None, reason="the matrix units of this processor serve all inputs")
def test_is_used_where_inputs_are_said_to_be_sparse() -> None:
    x, weight = sparse(64, 64, density=0.2), normal(48, 64)
    x[:, 6], weight[:, 6] = 0.0, torch.inf
    with torch.no_grad():
        assert linear(x, weight, sparse=True).isfinite().all()
        assert linear(x, weight).isnan().all()
        assert linear(x.double(), weight.double(), sparse=True).isnan().all()
        assert linear(x[:63], weight, sparse=True).isnan().all()
    assert linear(x, weight.requires_grad_(), sparse=True).isnan().all()


def test_arguments_of_the_op() -> None:
    with pytest.raises(ValueError, match=r"x is \[20, 32\] but weight is \[96, 64\]"):
        run(normal(20, 32), normal(96, 64))
    with pytest.raises(ValueError, match="multiples of 16"):
        run(normal(20, 40), normal(96, 40))
    with pytest.raises(ValueError, match="weight must be float32"):
        run(normal(20, 64), normal(96, 64).double())


def test_op_is_registered_correctly() -> None:
    arguments = (sparse(2, 20, 64, density=0.3), normal(96, 64))
    torch.library.opcheck(torch.ops.modrwkv_kernels.linear_sparse.default, arguments)
