"""The checks of the Triton kernels, which the kernels' own tests run on the interpreter, and steps in a CUDA graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modrwkv_kernels import LOG_DECAY_MIN, wkv7_step
from torch.nn import functional as F  # noqa: N812

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("script", "cases"), [("wkv7_triton_check.py", 30), ("fused_check.py", 13), ("decode_triton_check.py", 6)]
)
def test_kernels_agree_with_float64(run_check: Any, script: str, cases: int, dtype: str) -> None:
    assert run_check(f"kernels/tests/{script}", "cuda", dtype) == {"cases": cases, "beyond": {}}


def test_steps_in_a_graph() -> None:
    torch.manual_seed(0)
    r, k, v, direction = torch.randn(4, 2, 2, 64, device="cuda")
    log_w, alpha = LOG_DECAY_MIN * torch.rand_like(r), torch.rand_like(r)
    direction = F.normalize(direction, dim=-1)
    token = (r, log_w, k, v, -direction, direction * alpha)
    start = torch.randn(4, 2, 64, 64, device="cuda")
    pool, slots = start.clone(), torch.tensor([2, 1], device="cuda")
    expected_y, expected = wkv7_step(*token, start[slots])
    wkv7_step(*token, pool.clone(), out=pool.clone(), slots=slots)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, _ = wkv7_step(*token, pool, out=pool, slots=slots)
    graph.replay()
    assert torch.equal(y, expected_y)
    assert torch.equal(pool[slots], expected)
    slots.copy_(torch.tensor([0, 3]))
    graph.replay()
    assert torch.equal(pool[[0, 3]], wkv7_step(*token, start[[0, 3]])[1])
