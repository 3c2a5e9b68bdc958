"""``modrwkv bench linear``: linear layers on the CPU, ours and torch's, for few rows and for sparse inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from modrwkv_kernels import linear
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.roofline import measure_roofline

__all__ = ["bench_linear"]

# Rows, input features, output features, and the share of inputs that are not zero.
CASES = [
    *((rows, 768, 65536, 1.0) for rows in (1, 2, 8)),
    *((512, 3072, 768, share) for share in (0.5, 0.25, 0.1)),
]


def bench_linear(*, seconds: float) -> TimeReport:
    """Measure products in float32 with weights that are bfloat16 numbers, ours and torch's in turns."""
    report = TimeReport("linear", {"dtype": str(torch.float32)}, fingerprint("cpu"), "row")
    roofline = measure_roofline("cpu", torch.float32)
    for rows, inputs, outputs, share in CASES:
        x, weight = _tensors(rows, inputs, outputs, share)
        cases: dict[str, Callable[[], object]] = {
            "ours": partial(linear, x, weight, sparse=share < 1.0),
            "torch": partial(F.linear, x, weight),
        }
        work = f"{rows} x {inputs} x {outputs}, {share:.0%} not zero"
        bound = roofline.bound(weight.nbytes, 2 * int(x.count_nonzero()) * outputs)
        with torch.inference_mode():
            timings = interleave(cases, seconds=seconds / len(CASES))
        report.rows += [Row(work, name, timing, rows, bound) for name, timing in timings.items()]
    return report


def _tensors(rows: int, inputs: int, outputs: int, share: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(rows, inputs, generator=generator) < share
    x = torch.randn(rows, inputs, generator=generator) * mask
    return x, torch.randn(outputs, inputs, generator=generator).bfloat16().float()
