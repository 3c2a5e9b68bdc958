"""Linear layers on the CPU beside torch's: few rows, and inputs that are largely zeros.

Run as ``python benchmarks/linear_cpu.py [--threads N] [--seconds N]``. Ours and torch's take turns. Prints a table and
a JSON object.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from modrwkv_kernels import linear
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.floors import measure_ceilings
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Report, Row

# Rows, inputs, outputs, and the share of the inputs that is not zero.
CASES = [
    *((rows, 768, 65536, 1.0) for rows in (1, 2, 8)),
    *((512, 3072, 768, share) for share in (0.5, 0.25, 0.1)),
]


def tensors(rows: int, inputs: int, outputs: int, share: float) -> tuple[Tensor, Tensor]:
    """Random inputs and weights, the weights bfloat16 numbers."""
    generator = torch.Generator().manual_seed(0)
    live = torch.rand(rows, inputs, generator=generator) < share
    x = torch.randn(rows, inputs, generator=generator) * live
    return x, torch.randn(outputs, inputs, generator=generator).bfloat16().float()


def main() -> None:
    """Measure every case and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report = Report("linear_cpu", "row", {"dtype": str(torch.float32)}, fingerprint("cpu"))
    ceilings = measure_ceilings("cpu", torch.float32)
    for rows, inputs, outputs, share in CASES:
        x, weight = tensors(rows, inputs, outputs, share)
        cases: dict[str, Callable[[], object]] = {
            "ours": partial(linear, x, weight, sparse=share < 1.0),
            "torch": partial(F.linear, x, weight),
        }
        work = f"{rows} x {inputs} x {outputs}, {share:.0%} not zero"
        floor = ceilings.floor(weight.nbytes, 2 * int(x.count_nonzero()) * outputs)
        with torch.inference_mode():
            timings = interleave(cases, seconds=arguments.seconds, device="cpu")
        report.rows += [Row(work, name, timing, rows, floor) for name, timing in timings.items()]
    print(report.table())
    print(report.as_json())


if __name__ == "__main__":
    main()
