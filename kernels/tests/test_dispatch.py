"""The one choice of kernels: explained for every operation, and never an ImportError from deep inside."""

import logging
import subprocess
import sys

import pytest
import torch
from modrwkv_kernels import capability, disabled_kernels, dispatch, explain_dispatch
from modrwkv_kernels.dispatch import Request, select

CUDA = torch.device("cuda")
OPERATIONS = ["wkv7", "token_shift_mix", "fused_k_update", "gate_output", "relu_squared", "linear_cross_entropy"]


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setattr(capability, "HAS_TRITON", False)
    capability._warn_once.cache_clear()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_cuda_device_without_triton_is_served_by_torch_and_says_so(without_triton, caplog, operation):
    with caplog.at_level(logging.WARNING, "modrwkv_kernels"):
        for _ in range(2):
            found = explain_dispatch(operation=operation, device="cuda", dtype=torch.bfloat16)
    assert found.chosen == "torch"
    assert "pip install triton" in found.reasons["triton"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "plain torch computes on the CUDA device instead of Triton kernels, several times slower"
    ]


def test_naming_triton_without_triton_is_an_error_with_the_reason(without_triton):
    with pytest.raises(ValueError, match="'triton' is unavailable here: triton is not installed; install it with"):
        select("wkv7", Request(CUDA, torch.float32), "triton")
    decode = explain_dispatch(operation="decode", device="cuda")
    assert decode.chosen == "forward"
    assert "triton is not installed" in decode.reasons["triton"]


def test_the_package_imports_and_computes_without_triton():
    script = """
import sys
sys.modules["triton"] = None
import torch, modrwkv_kernels as k
x = torch.randn(1, 3, 64)
k.relu_squared(x), k.token_shift_mix(x, x[:, 0], x[0, :1], x[0, 0], x[0, 0])
print(k.explain_dispatch(device="cuda"))
"""
    # A finder that knows no Triton stands for an environment that has none.
    hide = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n, *a: None if n == 'triton' else f(n, *a)\n"
    )
    result = subprocess.run([sys.executable, "-c", hide + script], capture_output=True, text=True, check=True)
    assert "* torch " in result.stdout
    assert "triton is not installed" in result.stdout
    assert "plain torch computes on the CUDA device" in result.stderr


@pytest.mark.parametrize("operation", [*OPERATIONS, "linear"])
def test_torch_serves_every_operation_in_every_dtype(operation):
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for device in ("cpu", "cuda", "meta"):
            assert explain_dispatch(operation=operation, device=device, dtype=dtype).reasons["torch"] is None


def test_disabled_kernels_are_left_out_until_the_end_of_the_block():
    before = explain_dispatch()
    with disabled_kernels("cpu"):
        with disabled_kernels("cpu", "triton"):
            assert "disabled_kernels" in explain_dispatch().reasons["triton"]
        assert explain_dispatch().chosen == "torch"
        assert "disabled_kernels" in explain_dispatch().reasons["cpu"]
        assert "disabled_kernels" not in explain_dispatch().reasons["triton"]
    assert explain_dispatch() == before
    assert not dispatch._disabled


def test_unknown_operations_are_an_error():
    with pytest.raises(ValueError, match=r"no operation 'wkv8'; choose one of wkv7, .*, decode"):
        explain_dispatch(operation="wkv8")
