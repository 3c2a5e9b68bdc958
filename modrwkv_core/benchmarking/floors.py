"""What the machine could do at best: a task is bound by the bytes it must move or by the products it must form.

Bytes count as if they came from memory: work that stays within the caches can be faster than this floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["Ceilings", "measure_ceilings"]

_REPEATS = 7


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured limits of a device.

    Attributes:
        bytes_per_second: Reading memory on a CPU; copying, read plus written, on a GPU.
        flops: Multiplications and additions per second of a large matrix product.
    """

    bytes_per_second: float
    flops: float

    def floor(self, nbytes: float, flops: float = 0.0) -> float:
        """Seconds below which work of that many bytes and FLOPs cannot take."""
        return max(nbytes / self.bytes_per_second, flops / self.flops)


def measure_ceilings(
    device: str, dtype: torch.dtype, product: Callable[[Tensor, Tensor], Tensor] = F.linear
) -> Ceilings:
    """Measure a device's memory and its matrix products in ``dtype``, with weights of bfloat16 numbers."""
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
    return Ceilings(moved / _best(move, device), 2 * side**3 / _best(lambda: product(x, y), device))


def _best(run: Callable[[], object], device: str) -> float:
    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    times = []
    for _ in range(_REPEATS):
        wait()
        begun = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begun)
    return min(times)
