"""Timing several things that take turns, so that a change of the machine's load meets all of them."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["Timing", "interleave"]

WARM_UP = 2
LEAST_ROUNDS = 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_THRESHOLD = -1, -3, 1 << 25  # of glibc's mallopt; bytes


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one call took, in seconds.

    Attributes:
        best: The shortest: what else the machine does only ever adds time.
        median: The usual.
        rounds: Calls that were measured.
    """

    best: float
    median: float
    rounds: int


def interleave(cases: Mapping[str, Callable[[], object]], *, seconds: float, device: str) -> dict[str, Timing]:
    """Measure all cases in turns.

    Args:
        cases: What to call, by name.
        seconds: How long to measure altogether; every case is called a few times even if that takes longer.
        device: Where they compute; on a GPU each call ends when the device has finished.
    """

    def timed(run: Callable[[], object]) -> float:
        _wait(device)
        begun = time.perf_counter()
        run()
        _wait(device)
        return time.perf_counter() - begun

    _keep_freed_memory()
    for run in cases.values():
        for _ in range(WARM_UP):
            timed(run)
    times: dict[str, list[float]] = {name: [] for name in cases}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for name, run in cases.items():
            times[name].append(timed(run))
    return {name: Timing(min(taken), statistics.median(taken), rounds) for name, taken in times.items()}


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed, as it comes to do in a long run; else calls pay for a thousand page faults each."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
