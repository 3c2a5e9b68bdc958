"""``modrwkv bench wkv7-tuning``: the time of every Triton kernel of WKV-7 under several launch parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from modrwkv_kernels.backend import Inputs

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.report import ValueReport
from modrwkv_core.benchmarking.wkv7 import random_inputs

__all__ = ["bench_wkv7_tuning"]

SHAPES = ((8, 2048, 32), (1, 4096, 32))  # batch size, tokens, heads
CHUNK = 32  # tokens between the states that are kept
REPEATS = 8
TIME_LIMIT = 110  # seconds of one candidate, compilation included

# Parameters of different kernels vary together, because they do not affect each other.
CANDIDATES: tuple[dict[str, int], ...] = (
    {},
    {"programs": 256, "prepare_programs": 6, "scan_stages": 2, "reverse_scan_stages": 2, "gradient_registers": 255},
    {
        "programs": 128,
        "prepare_stages": 2,
        "scan_stages": 4,
        "reverse_scan_stages": 4,
        "gradient_warps": 8,
        "gradient_registers": 128,
    },
    {"programs": 64, "prepare_stages": 1, "shortest": 4},
)


def bench_wkv7_tuning(*, device: str) -> ValueReport:
    """Measure every candidate in a process of its own: a bad one may break the device's context.

    Args:
        device: A GPU.
    """
    report = ValueReport("wkv7-tuning", {"chunk": CHUNK, "repeats": REPEATS}, fingerprint(device), "milliseconds")
    with ThreadPoolExecutor(min(len(CANDIDATES), os.cpu_count() or 1)) as pool:
        outcomes = list(pool.map(_measure_apart, range(len(CANDIDATES)), [device] * len(CANDIDATES)))
    for candidate, (_, reason) in zip(CANDIDATES, outcomes, strict=True):
        if reason:
            report.missing[_name(candidate)] = reason
    for shape in SHAPES:
        work = "batch size {}, {} tokens, {} heads".format(*shape)
        for candidate, (times, _) in zip(CANDIDATES, outcomes, strict=True):
            if times:
                report.rows.append((work, _name(candidate), times[str(shape)]))
    return report


def _name(candidate: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in candidate.items()) or "defaults"


def _measure_apart(number: int, device: str) -> tuple[dict[str, dict[str, float]], str]:
    """A candidate's times by shape, or why there are none."""
    command = [sys.executable, "-m", __name__, str(number), device]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return {}, f"took longer than {TIME_LIMIT} s"
    if process.returncode == 0:
        return json.loads(process.stdout.splitlines()[-1]), ""
    return {}, (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1][:160]


def _kernel_times(shape: tuple[int, int, int], candidate: dict[str, int], device: str) -> dict[str, float]:
    """Mean milliseconds of each kernel in one forward and backward pass, summed over its launches in the pass."""
    from modrwkv_kernels.wkv_triton import launch
    from modrwkv_kernels.wkv_triton.plan import Tuning

    tuning = Tuning(**candidate)
    six = Inputs(*random_inputs(*shape, device, torch.bfloat16))
    dy = torch.randn_like(six.r)

    def once() -> None:
        _, _, saved = launch.forward(six, None, None, CHUNK, True, tuning)
        launch.backward(dy, None, six, saved, None, CHUNK, tuning)

    once()
    torch.cuda.synchronize()
    times: dict[str, float] = {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(REPEATS):
            once()
        torch.cuda.synchronize()
    events: list[Any] = profile.events()
    for event in events:
        if event.name.endswith("_kernel"):
            times[event.name] = times.get(event.name, 0.0) + event.device_time / 1000 / REPEATS
    return times


if __name__ == "__main__":
    chosen, device = CANDIDATES[int(sys.argv[1])], sys.argv[2]
    sys.stdout.write(json.dumps({str(shape): _kernel_times(shape, chosen, device) for shape in SHAPES}))
