"""Timing several cases in turns, so that a change of the machine's load affects all of them."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Timing", "interleave"]

Name = TypeVar("Name", bound=Hashable)

WARM_UP = 2
MIN_ROUNDS = 3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_THRESHOLD = -1, -3, 1 << 25  # of glibc's mallopt; bytes


@dataclass(frozen=True, slots=True)
class Timing:
    """The time of one call, in seconds.

    Attributes:
        best: The shortest. Other programs on the machine only ever add time.
        median: The median.
        rounds: The number of measured calls.
    """

    best: float
    median: float
    rounds: int

    @classmethod
    def of(cls, seconds: list[float]) -> Timing:
        """Summarize measured calls."""
        return cls(min(seconds), statistics.median(seconds), len(seconds))


def interleave(
    cases: Mapping[Name, Callable[[], object]],
    *,
    seconds: float,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    calls: tuple[int, int] = (WARM_UP, MIN_ROUNDS),
) -> dict[Name, Timing]:
    """Measure all cases in turns.

    Args:
        cases: What to call, by name.
        seconds: How long to measure altogether. Every case is called a few times even if that takes longer.
        device: Where they compute. On a GPU a call ends when the device has finished.
        clock: What a call is timed by, in seconds: the wall clock, or processor time where other programs must not
            count.
        calls: Of each case: how many are not measured, and how many are, at the least.
    """
    warm_up, min_rounds = calls

    def timed(run: Callable[[], object]) -> float:
        _wait(device)
        started = clock()
        run()
        _wait(device)
        return clock() - started

    _keep_freed_memory()
    for run in cases.values():
        for _ in range(warm_up):
            timed(run)
    times: dict[Name, list[float]] = {name: [] for name in cases}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < min_rounds or time.perf_counter() < end:
        rounds += 1
        for name, run in cases.items():
            times[name].append(timed(run))
    return {name: Timing.of(taken) for name, taken in times.items()}


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory, as it does in a long run; otherwise each call pays for a thousand page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _wait(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)
