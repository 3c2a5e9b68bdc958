"""Checks and times the Triton kernels of WKV-7 on a GPU: `python benchmarks/gpu_wkv7.py`.

Prints the error against float64, the times of every kernel under all launch parameters worth trying, and the times of
the public function on the shapes that matter beside the bytes' floor. With $OUT set, writes all of it to
$OUT/gpu_wkv7.json. With --fla, times flash-linear-attention's kernels, too, as its RWKV-7 layer calls them.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import triton.testing
from fingerprint import fingerprint
from modrwkv_kernels import LOG_DECAY_MIN, wkv7
from modrwkv_kernels.backend import Inputs
from modrwkv_kernels.wkv_triton import launch
from modrwkv_kernels.wkv_triton.plan import Tuning
from torch import Tensor

# Batch, tokens, heads.
SHAPES = ((8, 2048, 32), (8, 4096, 32), (8, 4096, 16), (1, 4096, 32), (1, 16384, 32), (1, 65536, 32))
TUNED = ((8, 2048, 32), (1, 4096, 32))
BLOCK = 32  # tokens between the states that are kept
BANDWIDTH = 4.28e12  # bytes a second, of a device-to-device copy on an H200
NAMES = ("y", "state", "dr", "dlog_w", "dk", "dv", "da", "db", "dstate")


def candidates() -> list[Tuning]:
    """Launch parameters to try; those of different kernels vary together, because they do not meet."""
    return [
        Tuning(),
        Tuning(programs=256, prepare_programs=6, walk_stages=2, back_stages=2, gradient_registers=255),
        Tuning(programs=128, prepare_stages=2, walk_stages=4, back_stages=4, gradient_warps=8, gradient_registers=128),
        Tuning(programs=64, prepare_stages=1, shortest=4),
    ]


def inputs(batch: int, tokens: int, heads: int, *, hard: bool = False, seed: int = 0) -> list[Tensor]:
    """Six bfloat16 inputs; hard ones have nearly parallel keys, a learning rate near 1 and almost no decay."""
    generator = torch.Generator("cuda").manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device="cuda")

    shape = (batch, tokens, heads, 64)
    direction, alpha, decay = normal(*shape), normal(*shape).sigmoid(), LOG_DECAY_MIN * normal(*shape).sigmoid()
    if hard:
        direction = normal(1, 1, heads, 64) + 0.1 * direction
        alpha = (normal(*shape) + 6).sigmoid()
        decay = LOG_DECAY_MIN * (normal(*shape) - 6).sigmoid()
    direction = torch.nn.functional.normalize(direction, dim=-1)
    six = (normal(*shape), decay, 0.3 * normal(*shape), normal(*shape), -direction, direction * alpha)
    return [x.bfloat16() for x in six]


def results(six: list[Tensor], state: Tensor, **options: Any) -> list[Tensor]:
    """Output, final state and gradients of a fixed projection of both."""
    leaves = [x.detach().clone().requires_grad_() for x in (*six, state)]
    y, final = wkv7(*leaves[:6], state=leaves[6], output_state=True, **options)
    generator = torch.Generator("cuda").manual_seed(2)
    weights = [torch.randn(x.shape, generator=generator, device="cuda").bfloat16().to(x.dtype) for x in (y, final)]
    return [y, final, *torch.autograd.grad([y, final], leaves, weights)]


def errors(chunk: int, *, hard: bool, dtype: torch.dtype, tokens: int = 512, split: bool = False) -> dict[str, float]:
    """Relative errors against float64 on the same rounded inputs."""
    launch.TUNING = Tuning() if split else Tuning(shortest=tokens)
    six = inputs(1, tokens, 4, hard=hard)
    state = torch.randn(1, 4, 64, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(1))
    truth = results([x.double() for x in six], state.double(), backend="torch")
    found = results([x.to(dtype) for x in six], state, backend="triton", chunk_size=chunk)
    launch.TUNING = Tuning()
    return {name: ((x.double() - y).norm() / y.norm()).item() for name, x, y in zip(NAMES, found, truth, strict=True)}


def kernel_times(shape: tuple[int, int, int], tuning: Tuning, repeats: int = 8) -> dict[str, float]:
    """Mean milliseconds of each kernel of one forward and backward pass, summed over its launches in the pass."""
    six = Inputs(*inputs(*shape))
    dy = torch.randn_like(six.r)

    def once() -> None:
        _, _, kept = launch.forward(six, None, None, BLOCK, True, tuning)
        launch.backward(dy, None, six, kept, None, BLOCK, tuning)

    once()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    times: dict[str, list[float]] = {}
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(repeats):
            once()
        torch.cuda.synchronize()
    for event in profile.events():
        if event.name.endswith("_kernel"):
            times.setdefault(event.name, []).append(event.device_time / 1000)
    return {name: sum(t) / repeats for name, t in times.items()}


def measure(batch: int, tokens: int, heads: int, *, float32_decay: bool = False, **options: Any) -> dict[str, Any]:
    """Median milliseconds of the public function, forward alone and with its backward, and the peak memory.

    In a CUDA graph, too: that leaves out what Python takes to launch the kernels. Autograd works in the calling thread,
    because it takes up to a quarter of a millisecond to wake its own, which a model does once a step and not in each
    of its layers.
    """
    six = inputs(batch, tokens, heads)
    if float32_decay:
        six[1] = six[1].float()
    dy = torch.randn_like(six[0])

    def both() -> None:
        wkv7(*leaves, **options)[0].backward(dy)
        for leaf in leaves:
            leaf.grad = None

    forward = triton.testing.do_bench(lambda: wkv7(*six, **options), return_mode="median")
    leaves = [x.requires_grad_() for x in six]
    torch.cuda.reset_peak_memory_stats()
    with torch.autograd.set_multithreading_enabled(False):
        both_ms = triton.testing.do_bench(both, return_mode="median")
    peak = torch.cuda.max_memory_allocated() / 2**30

    def recorded() -> None:
        torch.autograd.grad(wkv7(*leaves, **options)[0], leaves, dy)

    graph_ms = triton.testing.do_bench_cudagraph(recorded, return_mode="median")
    bytes_moved = six[0].numel() * 2
    return {
        "shape": (batch, tokens, heads),
        "float32_decay": float32_decay,
        "forward_ms": forward,
        "both_ms": both_ms,
        "graph_both_ms": graph_ms,
        "forward_floor_ms": 7 * bytes_moved / BANDWIDTH * 1e3,
        "both_floor_ms": 22 * bytes_moved / BANDWIDTH * 1e3,
        "peak_gib": peak,
        **options,
    }


def measure_fla(batch: int, tokens: int, heads: int) -> dict[str, Any]:
    """The same of flash-linear-attention."""
    from fla.ops.rwkv7 import chunk_rwkv7

    six = inputs(batch, tokens, heads)
    dy = torch.randn_like(six[0])
    leaves = [x.requires_grad_() for x in six]
    options = {"scale": 1.0, "safe_gate": True, "chunk_size": 64, "lower_bound": LOG_DECAY_MIN}

    def forward() -> Tensor:
        y: Tensor = chunk_rwkv7(*leaves, **options)[0]
        return y

    def both() -> None:
        forward().backward(dy)

    with torch.no_grad():
        forward_ms = triton.testing.do_bench(forward, return_mode="median")
    with torch.autograd.set_multithreading_enabled(False):
        both_ms = triton.testing.do_bench(both, return_mode="median")
    return {"shape": (batch, tokens, heads), "forward_ms": forward_ms, "both_ms": both_ms}


def measure_step(batch: int, heads: int = 32) -> dict[str, Any]:
    """Microseconds of a decode step in place on a pool, in a CUDA graph, and the bytes' floor."""
    from modrwkv_kernels import wkv7_step

    token = [x[:, 0].contiguous() for x in inputs(batch, 1, heads)]
    pool = torch.zeros(2 * batch, heads, 64, 64, device="cuda")
    slots = torch.randperm(2 * batch, device="cuda")[:batch]

    def step() -> None:
        wkv7_step(*token, pool, out=pool, slots=slots)

    step()
    milliseconds = triton.testing.do_bench_cudagraph(step, return_mode="median")
    floor = 2 * batch * heads * 64 * 64 * 4 / BANDWIDTH
    return {"batch": batch, "microseconds": milliseconds * 1e3, "floor_microseconds": floor * 1e6}


def sweep_one(number: int) -> None:
    """Time the kernels under one candidate and print the times as JSON."""
    print(json.dumps({str(shape): kernel_times(shape, candidates()[number]) for shape in TUNED}))


def _run_candidate(number: int) -> tuple[dict[str, Any], str]:
    """A candidate's times from a process of its own, or why there are none: it may break the device's context."""
    command = [sys.executable, __file__, "--candidate", str(number)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=110)
    except subprocess.TimeoutExpired:
        return {}, "took longer than 110 s"
    if process.returncode == 0:
        return json.loads(process.stdout.splitlines()[-1]), ""
    return {}, (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1][:160]


def sweep(report: dict[str, Any], workers: int) -> None:
    """Time every kernel under all candidates."""
    tried = candidates()
    began = time.time()
    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(_run_candidate, range(len(tried))))
    print(f"tried {len(tried)} candidates in {time.time() - began:.0f} s, {workers} at a time on one GPU")
    report["refused"] = []
    for tuning, (_, reason) in zip(tried, outcomes, strict=True):
        if reason:
            report["refused"].append((dataclasses.asdict(tuning), reason))
            print(f"  refused: {tuning}: {reason}")
    for shape in TUNED:
        print(f"\n{shape}: ms of each kernel")
        rows = []
        for tuning, (times, _) in zip(tried, outcomes, strict=True):
            if times:
                rows.append({**dataclasses.asdict(tuning), "ms": times[str(shape)]})
                shown = "  ".join(f"{name} {ms:.3f}" for name, ms in times[str(shape)].items())
                print(f"  {shown}\n    {tuning}")
        report["sweep"][str(shape)] = rows


def main() -> None:
    """Check, tune, time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fla", action="store_true", help="time flash-linear-attention, too")
    parser.add_argument("--no-sweep", action="store_true", help="leave the launch parameters alone")
    parser.add_argument("--workers", type=int, default=min(12, os.cpu_count() or 1), help="processes that compile")
    parser.add_argument("--candidate", type=int, help="time this candidate alone; the sweep does it for each")
    arguments = parser.parse_args()
    if arguments.candidate is not None:
        sweep_one(arguments.candidate)
        return
    report: dict[str, Any] = {"fingerprint": fingerprint() | {"gpu": torch.cuda.get_device_name()}, "sweep": {}}

    report["errors"] = []
    print("relative errors against float64:", *NAMES)
    for dtype, hard, chunk, split in [
        *((torch.bfloat16, hard, chunk, False) for hard in (False, True) for chunk in (16, 32)),
        *((torch.float32, hard, 32, False) for hard in (False, True)),
        (torch.bfloat16, True, 32, True),
    ]:
        tokens = 4096 if split else 512
        found = errors(chunk, hard=hard, dtype=dtype, tokens=tokens, split=split)
        report["errors"].append({"dtype": str(dtype), "hard": hard, "chunk": chunk, "tokens": tokens, **found})
        label = f"{str(dtype)[6:]:8} {'hard' if hard else 'easy'} block {chunk} T{tokens}"
        print(f"  {label:32}", *(f"{error:.1e}" for error in found.values()), flush=True)

    if not arguments.no_sweep:
        sweep(report, arguments.workers)

    report["times"] = []
    print("\nbatch, tokens, heads: forward / forward+backward / that in a graph, ms (floor), peak GiB")
    for shape in SHAPES:
        for float32_decay in (False, True):
            row = measure(*shape, float32_decay=float32_decay)
            report["times"].append(row)
            print(
                f"  {shape!s:16} {'float32 decay' if float32_decay else '':14} {row['forward_ms']:.3f} / "
                f"{row['both_ms']:.3f} / {row['graph_both_ms']:.3f}  "
                f"({row['forward_floor_ms']:.3f} / {row['both_floor_ms']:.3f})  {row['peak_gib']:.2f}",
                flush=True,
            )
    report["steps"] = [measure_step(batch) for batch in (1, 32, 128, 512)]
    for row in report["steps"]:
        print(f"  step, batch {row['batch']}: {row['microseconds']:.1f} us ({row['floor_microseconds']:.1f})")
    if arguments.fla and importlib.util.find_spec("fla") is not None:
        report["fla"] = [measure_fla(*shape) for shape in SHAPES]
        for row in report["fla"]:
            print(f"  fla {row['shape']!s:16} {row['forward_ms']:.3f} / {row['both_ms']:.3f}")
    if "OUT" in os.environ:
        (Path(os.environ["OUT"]) / "gpu_wkv7.json").write_text(json.dumps(report, indent=1, default=str))


if __name__ == "__main__":
    main()
