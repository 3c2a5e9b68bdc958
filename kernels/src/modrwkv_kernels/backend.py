"""What a backend of the recurrence is, and what all of them share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from modrwkv_kernels.cu_seqlens import CuSeqlens

__all__ = ["CHUNK_SIZES", "DEFAULT_CHUNK_SIZE", "LOG_DECAY_MIN", "Backend", "Inputs", "compute_dtype"]

LOG_DECAY_MIN = -math.exp(-0.5)
"""Strongest log-decay that RWKV-7 can express: ``log w = -exp(-1/2) sigmoid(x)``."""

CHUNK_SIZES = (16, 32, 64)
"""Tokens per chunk. At 64 the factors ``exp(-cumsum(log w))`` of the chunked form stay below 1e17, safe in float32."""

DEFAULT_CHUNK_SIZE = 32
"""Tokens per chunk unless the caller asks for another number."""


class Inputs(NamedTuple):
    """The six inputs of WKV-7, each `[batch, tokens, heads, head size]`."""

    r: Tensor
    log_w: Tensor
    k: Tensor
    v: Tensor
    a: Tensor
    b: Tensor

    def to(self, dtype: torch.dtype) -> Inputs:
        """The same inputs in one dtype."""
        return Inputs(*(x.to(dtype) for x in self))


@dataclass(frozen=True)
class Backend:
    """One way to compute WKV-7.

    Args:
        name: What callers pass as ``backend=``.
        run: Maps inputs, initial state, packing and chunk size to output and final state.
        step: Maps the inputs of one token, each `[batch, heads, head size]`, and the state to output and new state.
        step_into: Like `step`, but reads the states in a pool, from the slots that a tensor lists or from all slots for
            None, writes the new ones to the same slots of another pool, which may be the same, and returns only the
            output. None when the backend has to copy the states.
    """

    name: str
    run: Callable[[Inputs, Tensor | None, CuSeqlens | None, int | None], tuple[Tensor, Tensor]]
    step: Callable[[Inputs, Tensor], tuple[Tensor, Tensor]]
    step_into: Callable[[Inputs, Tensor, Tensor, Tensor | None], Tensor] | None = None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Element type of the arithmetic and of the state: float64 for float64 inputs, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32
