"""The roofline of a device: work takes at least the time of its memory traffic and of its arithmetic.

Bytes count as if they came from memory. Work that stays within the caches can be faster than this bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["Roofline", "measure_roofline"]

_REPEATS = 7


@dataclass(frozen=True, slots=True)
class Roofline:
    """Measured limits of a device.

    Attributes:
        bytes_per_second: Reading memory on a CPU; copying, read plus written, on a GPU.
        flops_per_second: Multiplications and additions of a large matrix product.
    """

    bytes_per_second: float
    flops_per_second: float

    def bound(self, nbytes: float, flops: float = 0.0) -> float:
        """Return the least time, in seconds, of work that moves ``nbytes`` and computes ``flops``."""
        return max(nbytes / self.bytes_per_second, flops / self.flops_per_second)


def measure_roofline(
    device: str, dtype: torch.dtype, product: Callable[[Tensor, Tensor], Tensor] = F.linear
) -> Roofline:
    """Measure a device's memory and its matrix products in ``dtype``.

    Args:
        device: What to measure.
        dtype: Of the factors. Their values are bfloat16 numbers, as the weights of official checkpoints are.
        product: The matrix product.
    """
    if device == "cpu":
        words = torch.ones(2**26)  # 256 MiB, more than caches hold
        moved = words.nbytes
        side = 1024
    else:
        words = torch.ones(2**28, device=device)
        moved = 2 * words.nbytes
        side = 8192
    x, y = (torch.randn(side, side, device=device).bfloat16().to(dtype) for _ in range(2))
    move: Callable[[], object] = words.sum if device == "cpu" else words.clone
    return Roofline(moved / _best(move, device), 2 * side**3 / _best(lambda: product(x, y), device))


def _best(run: Callable[[], object], device: str) -> float:
    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(_REPEATS):
        wait()
        started = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - started)
    return min(times)
