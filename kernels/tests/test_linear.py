"""Linear layers: torch's product, or the same to the last bits of float32 on AMX units, which are emulated here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import linear
from modrwkv_kernels.capability import amx_unavailable_reason, native_unavailable_reason
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

HERE = Path(__file__).parent
Product = Callable[[Tensor, Tensor], Tensor]
OnThreads = Callable[[Callable[[], Tensor]], tuple[Tensor, Tensor]]


needs_amx = pytest.mark.skipif(amx_unavailable_reason() is not None, reason=amx_unavailable_reason() or "")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def weights(outputs: int, inputs: int) -> Tensor:
    return normal(outputs, inputs, seed=1).bfloat16().float()


def error(found: Tensor, x: Tensor, weight: Tensor) -> float:
    exact = x.double() @ weight.double().T
    return ((found - exact).norm() / (exact.norm() + 1e-30)).item()


@pytest.fixture(scope="module")
def emulated(hatch_build: Any, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The op on emulated units."""
    if platform.machine() != "x86_64":
        pytest.skip("the emulation needs the intrinsics of x86-64")
    try:
        compiler = hatch_build.find_compiler()
    except hatch_build.CompileError as error:
        pytest.skip(str(error))
    folder, torch_folder = tmp_path_factory.mktemp("amx"), Path(torch.__file__).parent
    flags = [f"-std={hatch_build.STANDARD}", "-O2", "-mavx2", "-mfma", "-Wno-psabi", "-fopenmp", "-fPIC", "-c"]
    definitions = ["-DISA=amx", "-DLANES=16", "-Dmodrwkv_kernels=modrwkv_emulated"]
    folders = [f"-I{HERE.parent / 'csrc'}", f"-isystem{torch_folder / 'include'}"]
    hatch_build.run(
        [*compiler, *flags, *definitions, *folders, str(HERE / "emulated_op.cpp"), "-o", str(folder / "op.o")]
    )
    linked = [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
    hatch_build.run([*compiler, "-shared", str(folder / "op.o"), *linked, "-o", str(folder / "op.so")])
    torch.library.define("modrwkv_emulated::linear_amx", "(Tensor x, Tensor weight) -> Tensor")
    torch.ops.load_library(folder / "op.so")
    op: Product = torch.ops.modrwkv_emulated.linear_amx
    return op


@pytest.fixture(scope="module")
def units() -> Product:
    """The op on the units of this processor."""
    op: Product = torch.ops.modrwkv_kernels.linear_amx
    return op


@pytest.fixture(params=["emulated", pytest.param("units", marks=needs_amx)])
def amx(request: pytest.FixtureRequest) -> Product:
    """Either of them."""
    op: Product = request.getfixturevalue(request.param)
    return op


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 100), inputs=st.integers(0, 4), outputs=st.integers(0, 4))
def test_pieces_lose_nothing(emulated: Product, rows: int, inputs: int, outputs: int) -> None:
    x, weight = normal(1, rows, 32 * inputs), weights(32 * outputs, 32 * inputs)
    assert error(emulated(x, weight), x, weight) < 3e-7


@needs_amx
@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 1100), inputs=st.integers(0, 30), outputs=st.integers(0, 70))
def test_units_lose_nothing(units: Product, rows: int, inputs: int, outputs: int) -> None:
    x, weight = normal(1, rows, 32 * inputs), weights(32 * outputs, 32 * inputs)
    assert error(units(x, weight), x, weight) < 5e-7


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(41, 50, 1), (1030, 1, 2), (5, 1, 70)], ids=["inputs", "rows", "outputs"]
)
def test_more_than_is_held_at_once(amx: Product, rows: int, inputs: int, outputs: int) -> None:
    x, weight = normal(rows, 32 * inputs), weights(32 * outputs, 32 * inputs)
    assert error(amx(x, weight), x, weight) < 5e-7


@pytest.mark.parametrize("place", [(0, 0), (1087, 95), (17, 33)])
def test_a_weight_that_is_no_bfloat16_takes_all_to_torch(amx: Product, place: tuple[int, int]) -> None:
    x, weight = normal(5, 96), weights(1088, 96)
    weight[place] = 1 + 2**-23
    assert torch.equal(amx(x, weight), F.linear(x, weight))


def test_result_does_not_depend_on_threads(amx: Product, on_threads: OnThreads) -> None:
    x, weight = normal(100, 256), weights(160, 256)
    found, expected = on_threads(lambda: amx(x, weight))
    assert torch.equal(found, expected)
    assert error(found, x, weight) < 2e-7


def test_arguments_of_the_op(amx: Product) -> None:
    with pytest.raises(ValueError, match=r"x is \[20, 32\] but weight is \[96, 64\]"):
        amx(normal(20, 32), weights(96, 64))
    with pytest.raises(ValueError, match="multiples of 32"):
        amx(normal(20, 48), weights(96, 48))
    with pytest.raises(ValueError, match="weight must be float32"):
        amx(normal(20, 64), weights(96, 64).double())


@needs_amx
def test_amx_op_is_registered_correctly() -> None:
    torch.library.opcheck(torch.ops.modrwkv_kernels.linear_amx.default, (normal(2, 20, 64), weights(96, 64)))


@needs_amx
def test_amx_is_off_where_torch_is_told_to_use_less() -> None:
    script = "import modrwkv_kernels, torch; print(torch.ops.modrwkv_kernels.amx_usable())"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.skipif(
    amx_unavailable_reason() is None or native_unavailable_reason() is not None,
    reason="the units are there, or nothing is compiled",
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


@torch.no_grad()
def test_compiles_for_any_number_of_rows() -> None:
    weight = weights(96, 64)
    compiled = torch.compile(lambda x: linear(x, weight, sparse=True), fullgraph=True, dynamic=True, backend="eager")
    for rows in (3, 20, 100):
        x = normal(rows, 64).relu()
        assert error(compiled(x), x, weight) < 5e-7


def test_a_wrong_width_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"x is \[20, 32\] but weight is \[96, 64\]; it needs \[outputs, inputs\]"):
        linear(normal(20, 32), weights(96, 64))
