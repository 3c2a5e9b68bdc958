"""Linear layers: torch's product, or the same to the last bits of float32 on AMX units, which are emulated here."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import linear
from modrwkv_kernels.fused.linear import why_no_amx
from modrwkv_kernels.native import why_missing
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HERE = Path(__file__).parent
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
Multiply = Callable[[Tensor, Tensor], Tensor | None]


needs_amx = pytest.mark.skipif(why_no_amx() is not None, reason=why_no_amx() or "")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def weights(outputs: int, inputs: int) -> Tensor:
    return normal(outputs, inputs, seed=1).bfloat16().float()


def error(found: Tensor, x: Tensor, weight: Tensor) -> float:
    exact = x.double() @ weight.double().T
    return ((found - exact).norm() / (exact.norm() + 1e-30)).item()


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Multiply:
    """The kernels compiled against emulated units: the product, or None where weights are no bfloat16's."""
    if COMPILER is None or os.uname().machine != "x86_64":
        pytest.skip("the emulation needs a C++ compiler on x86-64")
    library = tmp_path_factory.mktemp("amx") / "product.so"
    command = [COMPILER, "-std=c++17", "-O2", "-mavx2", "-mfma", "-Wno-psabi", "-shared", "-fPIC"]
    definitions = ["-DISA=amx", "-DLANES=16", f"-I{HERE.parent / 'csrc'}"]
    subprocess.run([*command, *definitions, HERE / "amx_product.cpp", "-o", library], check=True)
    product = ctypes.CDLL(str(library)).product
    product.restype = ctypes.c_bool
    product.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3]

    def multiply(x: Tensor, weight: Tensor) -> Tensor | None:
        y = torch.full((len(x), len(weight)), torch.nan)
        done = product(x.data_ptr(), weight.data_ptr(), y.data_ptr(), *x.shape, len(weight))
        return y if done else None

    return multiply


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 100), inputs=st.integers(1, 4), outputs=st.integers(1, 4))
def test_pieces_lose_nothing(emulated: Multiply, rows: int, inputs: int, outputs: int) -> None:
    x, weight = normal(rows, 32 * inputs), weights(32 * outputs, 32 * inputs)
    y = emulated(x, weight)
    assert y is not None
    assert error(y, x, weight) < 3e-7


def test_sums_that_wait_in_memory(emulated: Multiply) -> None:
    x, weight = normal(41, 32 * 50), weights(32, 32 * 50)
    y = emulated(x, weight)
    assert y is not None
    assert error(y, x, weight) < 5e-7


@pytest.mark.parametrize("place", [(0, 0), (63, 95), (17, 33)])
def test_a_weight_that_is_no_bfloat16_is_found(emulated: Multiply, place: tuple[int, int]) -> None:
    weight = weights(64, 96)
    weight[place] = 1 + 2**-23
    assert emulated(normal(5, 96), weight) is None


@needs_amx
@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 1100), inputs=st.integers(0, 30), outputs=st.integers(0, 70))
def test_amx_units_lose_nothing(rows: int, inputs: int, outputs: int) -> None:
    x, weight = normal(1, rows, 32 * inputs), weights(32 * outputs, 32 * inputs)
    assert error(torch.ops.modrwkv_kernels.linear_amx(x, weight), x, weight) < 5e-7


@needs_amx
def test_amx_takes_other_weights_to_torch() -> None:
    x, weight = normal(40, 64), normal(96, 64)
    assert torch.equal(torch.ops.modrwkv_kernels.linear_amx(x, weight), F.linear(x, weight))


@needs_amx
def test_amx_op_is_registered_correctly() -> None:
    op = torch.ops.modrwkv_kernels.linear_amx.default
    torch.library.opcheck(op, (normal(2, 20, 64), weights(96, 64)))
    with pytest.raises(ValueError, match=r"x is \[20, 32\] but weight is \[96, 64\]"):
        op(normal(20, 32), weights(96, 64))
    with pytest.raises(ValueError, match="multiples of 32"):
        op(normal(20, 48), weights(96, 48))


@needs_amx
def test_result_does_not_depend_on_threads() -> None:
    before, results = torch.get_num_threads(), []
    x, weight = normal(600, 1024), weights(1056, 1024)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(linear(x, weight))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)
    assert error(results[0], x, weight) < 2e-7  # torch's own product has 3.5e-7


@pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "")
def test_amx_is_off_where_torch_is_told_to_use_less() -> None:
    script = "import modrwkv_kernels, torch; print(torch.ops.modrwkv_kernels.amx_usable())"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.skipif(
    why_no_amx() is None or why_missing() is not None, reason="the units are there, or nothing is compiled"
)
def test_missing_units_are_an_error_of_the_op() -> None:
    with pytest.raises(ValueError, match="no AMX units"):
        torch.ops.modrwkv_kernels.linear_amx(normal(40, 64), weights(96, 64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_is_a_linear_layer_with_gradients(dtype: torch.dtype) -> None:
    x, weight = normal(3, 20, 64).to(dtype), weights(96, 64).to(dtype)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), F.linear(x, weight))
    leaves = [x.requires_grad_(), weight.requires_grad_()]
    found = torch.autograd.grad(linear(*leaves).square().sum(), leaves)
    expected = torch.autograd.grad(F.linear(*leaves).square().sum(), leaves)
    for gradient, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, exact)


def test_a_wrong_width_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"x is \[20, 32\] but weight is \[96, 64\]; it needs \[outputs, inputs\]"):
        linear(normal(20, 32), weights(96, 64))
