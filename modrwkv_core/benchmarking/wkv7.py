"""``modrwkv bench wkv7``: the recurrence alone, forward, with its gradients, and one token of a pool of states."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from modrwkv_kernels import LOG_DECAY_MIN, available_backends, explain_dispatch, wkv7, wkv7_step
from torch import Tensor

from modrwkv_core.benchmarking.baselines import FLA, MissingBaselineError, fla_module
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.roofline import measure_roofline
from modrwkv_core.benchmarking.sizes import HEAD_SIZE

__all__ = ["backends", "bench_wkv7", "random_inputs"]

# Of one token and head: six inputs and the output; for gradients the inputs and that of the output again, six results.
FORWARD_VECTORS, BOTH_VECTORS = 7, 7 + 13
# Multiplications and additions of one token and head, in units of the head size squared, decays apart.
FORWARD_FLOPS, BOTH_FLOPS = 8, 8 + 26

LAYERS = 12  # calls in a row, as the layers of a network follow each other
GRAPH = ", CUDA graph"

Run = Callable[[list[Tensor]], Tensor]
Case = Callable[[], object]


def bench_wkv7(
    *,
    batch_size: int,
    tokens: int,
    heads: int,
    device: str,
    dtype: torch.dtype,
    seconds: float,
    float32_decay: bool = False,
    states: tuple[int, ...] = (1,),
) -> TimeReport:
    """Measure every backend that serves the device, and flash-linear-attention as its RWKV-7 layer calls it.

    A turn is a few calls in a row, and ends when the device has finished the last. On a GPU ours is also measured in a
    CUDA graph, which leaves out the launches.

    Args:
        batch_size: Number of sequences.
        tokens: Length of each.
        heads: Number of heads.
        device: Where to compute.
        dtype: Of the inputs.
        seconds: How long to measure altogether.
        float32_decay: Whether ours gets the decay in float32, as the backbone computes it.
        states: Numbers of states that a step of decoding advances.
    """
    settings = {
        "batch size": batch_size,
        "tokens": tokens,
        "heads": heads,
        "head size": HEAD_SIZE,
        "dtype": str(dtype),
        "decay": str(torch.float32 if float32_decay else dtype),
        "calls in a row": LAYERS,
    }
    report = TimeReport("wkv7", settings, fingerprint(device), "token-head")
    roofline = measure_roofline(device, dtype)
    inputs = random_inputs(batch_size, tokens, heads, device, dtype)
    runs: dict[str, Run] = {f"ours, {name}": _ours(name) for name in backends(device, dtype)}
    try:
        runs[FLA] = _fla(device)
    except MissingBaselineError as missing:
        report.missing[FLA] = str(missing)

    share = seconds / (2 + len(states))
    count = batch_size * tokens * heads
    vector = HEAD_SIZE * dtype.itemsize
    for work, grad, vectors, flops in (
        ("forward", False, FORWARD_VECTORS, FORWARD_FLOPS),
        ("forward + backward", True, BOTH_VECTORS, BOTH_FLOPS),
    ):
        cases = _with_graph(
            {name: _case(run, _decay(inputs, float32_decay and name != FLA), grad) for name, run in runs.items()},
            device,
        )
        bound = roofline.bound(count * vectors * vector, count * flops * HEAD_SIZE**2)
        # A model wakes autograd's own thread once a step, not once a layer.
        with nullcontext() if device == "cpu" else torch.autograd.set_multithreading_enabled(False):
            timings = interleave(cases, seconds=share, device=device)
        report.rows += [Row(work, name, timing, LAYERS * count, LAYERS * bound) for name, timing in timings.items()]
    for number in states:
        steps = {f"ours, {name}": _step(name, number, heads, device, dtype) for name in backends(device, dtype)}
        bound = roofline.bound(2 * number * heads * HEAD_SIZE**2 * 4)
        for name, timing in interleave(_with_graph(steps, device), seconds=share, device=device).items():
            report.rows.append(Row(f"step, batch size {number}", name, timing, LAYERS * number * heads, LAYERS * bound))
    return report


def backends(device: str, dtype: torch.dtype) -> list[str]:
    """Return the chosen backend and the others that can serve; never the reference, which is slow by design."""
    reasons = explain_dispatch(device=device, dtype=dtype, head_size=HEAD_SIZE).reasons
    return [name for name in available_backends(device) if name != "reference" and reasons[name] is None]


def random_inputs(
    batch_size: int, tokens: int, heads: int, device: str, dtype: torch.dtype, *, hard: bool = False
) -> list[Tensor]:
    """Return the six inputs of the recurrence, ``[batch, tokens, heads, head size]``.

    Hard ones have nearly parallel keys, a learning rate near 1 and almost no decay.
    """
    generator = torch.Generator(device).manual_seed(0)
    shape = (batch_size, tokens, heads, HEAD_SIZE)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    removal, rate, decay = normal(*shape), normal(*shape), normal(*shape)
    if hard:
        removal, rate, decay = normal(1, 1, heads, HEAD_SIZE) + 0.1 * removal, rate + 6, decay - 6
    removal, rate = torch.nn.functional.normalize(removal, dim=-1), rate.sigmoid()
    log_decay = LOG_DECAY_MIN * decay.sigmoid()
    six = (normal(*shape), log_decay, 0.3 * normal(*shape), normal(*shape), -removal, removal * rate)
    return [x.to(dtype) for x in six]


def _case(run: Run, inputs: list[Tensor], grad: bool) -> Case:
    leaves = [x.clone().requires_grad_(grad) for x in inputs]
    direction = torch.randn_like(leaves[0])

    def case() -> None:
        for _ in range(LAYERS):
            y = run(leaves)
            if grad:
                torch.autograd.grad(y, leaves, direction)

    return case


def _step(backend: str, states: int, heads: int, device: str, dtype: torch.dtype) -> Case:
    r, log_w, k, v, a, b = (x[:, 0].contiguous() for x in random_inputs(states, 1, heads, device, dtype))
    pool = torch.zeros(2 * states, heads, HEAD_SIZE, HEAD_SIZE, device=device)
    slots = torch.randperm(2 * states, device=device)[:states]

    def case() -> None:
        for _ in range(LAYERS):
            wkv7_step(r, log_w, k, v, a, b, pool, out=pool, slots=slots, backend=backend)

    return case


def _with_graph(cases: dict[str, Case], device: str) -> dict[str, Case]:
    if device == "cpu":
        return cases
    # Only Triton's launches need nothing from the host.
    return cases | {f"{name}{GRAPH}": _captured(case) for name, case in cases.items() if name == "ours, triton"}


def _captured(case: Case) -> Case:
    """Capture the case in a CUDA graph and return its replay."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        case()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        case()
    return graph.replay


def _decay(inputs: list[Tensor], in_float32: bool) -> list[Tensor]:
    r, log_w, *others = inputs
    return [r, log_w.float() if in_float32 else log_w, *others]


def _ours(backend: str) -> Run:
    return lambda six: wkv7(*six, backend=backend)[0]


def _fla(device: str) -> Run:
    chunk_rwkv7 = fla_module("fla.ops.rwkv7", device).chunk_rwkv7

    def run(six: list[Tensor]) -> Tensor:
        y: Tensor = chunk_rwkv7(*six, scale=1.0, safe_gate=True, lower_bound=LOG_DECAY_MIN, chunk_size=64)[0]
        return y

    return run
