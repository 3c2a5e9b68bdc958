"""``modrwkv bench wkv7``: the recurrence alone, forward and with its gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from modrwkv_kernels import LOG_DECAY_MIN, available_backends, explain_dispatch, wkv7
from torch import Tensor

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.floors import measure_ceilings
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Report, Row
from modrwkv_core.benchmarking.rivals import FLA, MissingRivalError, fla_module
from modrwkv_core.benchmarking.sizes import HEAD_SIZE

__all__ = ["bench_wkv7"]

# Of one token and head: six inputs and the output; for gradients the inputs and that of the output again, six results.
FORWARD_VECTORS, BOTH_VECTORS = 7, 7 + 13
# Multiplications and additions of one token and head, in units of the head size squared, decays apart.
FORWARD_FLOPS, BOTH_FLOPS = 8, 8 + 26

LAYERS = 12  # calls in a row, as the layers of a network follow each other

Run = Callable[[list[Tensor]], Tensor]


def bench_wkv7(*, batch: int, tokens: int, heads: int, device: str, dtype: torch.dtype, seconds: float) -> Report:
    """Measure every backend that serves the device, and flash-linear-attention as its RWKV-7 layer calls it.

    A turn is a few calls in a row, and ends when the device has finished the last.
    """
    report = Report(
        "wkv7",
        "token-head",
        {
            "batch": batch,
            "tokens": tokens,
            "heads": heads,
            "head size": HEAD_SIZE,
            "dtype": str(dtype),
            "calls in a row": LAYERS,
        },
        fingerprint(device),
    )
    ceilings = measure_ceilings(device, dtype)
    inputs = _inputs(batch, tokens, heads, device, dtype)
    runs: dict[str, Run] = {f"ours, {name}": _ours(name) for name in _backends(device, dtype)}
    try:
        runs[FLA] = _fla(device)
    except MissingRivalError as missing:
        report.missing[FLA] = str(missing)

    count = batch * tokens * heads
    vector = HEAD_SIZE * dtype.itemsize
    for work, grad, vectors, flops in (
        ("forward", False, FORWARD_VECTORS, FORWARD_FLOPS),
        ("forward + backward", True, BOTH_VECTORS, BOTH_FLOPS),
    ):
        cases = {name: _case(run, inputs, grad) for name, run in runs.items()}
        floor = ceilings.floor(count * vectors * vector, count * flops * HEAD_SIZE**2)
        for name, timing in interleave(cases, seconds=seconds / 2, device=device).items():
            report.rows.append(Row(work, name, timing, LAYERS * count, LAYERS * floor))
    return report


def _backends(device: str, dtype: torch.dtype) -> list[str]:
    """The chosen backend first; never the reference, a yardstick of accuracy that is slow by design."""
    reasons = explain_dispatch(device=device, dtype=dtype, head_size=HEAD_SIZE).reasons
    return [name for name in available_backends(device) if name != "reference" and reasons[name] is None]


def _inputs(batch: int, tokens: int, heads: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator(device).manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(batch, tokens, heads, HEAD_SIZE, generator=generator, device=device)

    removal, rate = torch.nn.functional.normalize(normal(), dim=-1), normal().sigmoid()
    six = (normal(), LOG_DECAY_MIN * normal().sigmoid(), 0.3 * normal(), normal(), -removal, removal * rate)
    return [x.to(dtype) for x in six]


def _case(run: Run, inputs: list[Tensor], grad: bool) -> Callable[[], None]:
    leaves = [x.clone().requires_grad_(grad) for x in inputs]
    direction = torch.randn_like(leaves[0])

    def case() -> None:
        for _ in range(LAYERS):
            y = run(leaves)
            if grad:
                torch.autograd.grad(y, leaves, direction)

    return case


def _ours(backend: str) -> Run:
    return lambda six: wkv7(*six, backend=backend)[0]


def _fla(device: str) -> Run:
    chunk_rwkv7 = fla_module("fla.ops.rwkv7", device).chunk_rwkv7

    def run(six: list[Tensor]) -> Tensor:
        y: Tensor = chunk_rwkv7(*six, scale=1.0, safe_gate=True, lower_bound=LOG_DECAY_MIN, chunk_size=64)[0]
        return y

    return run
