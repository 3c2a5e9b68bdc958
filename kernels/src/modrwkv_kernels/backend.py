"""What a backend is: a name, a function, and a predicate that says why it cannot serve a request."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CHUNK_SIZES", "DEFAULT_CHUNK_SIZE", "LOG_DECAY_MIN", "Backend", "Inputs", "Request", "compute_dtype"]

LOG_DECAY_MIN = -math.exp(-0.5)
"""Strongest log-decay that RWKV-7 can express: ``log w = -exp(-1/2) sigmoid(x)``."""

CHUNK_SIZES = (16, 32, 64)
"""Tokens per chunk. At 64 the factors ``exp(-cumsum(log w))`` of the chunked form stay below 1e17, safe in float32."""

DEFAULT_CHUNK_SIZE = 32
"""As fast as any of them on CPU in every backend; half the saved states of 16."""


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
class Request:
    """What decides whether a backend can serve a call.

    Args:
        device: Where the tensors are.
        dtype: Element type of `r, k, v, a, b`.
        head_size: Width of one head.
        chunk_size: Tokens per chunk when the caller asked for a certain one.
    """

    device: torch.device
    dtype: torch.dtype
    head_size: int
    chunk_size: int | None = None


@dataclass(frozen=True)
class Backend:
    """One way to compute WKV-7.

    Args:
        name: What callers pass as ``backend=``.
        run: Maps inputs, initial state, sequence bounds and chunk size to output and final state.
        step: Maps the inputs of one token, each `[batch, heads, head size]`, and the state to output and new state.
        unusable: Gives the reason why a request cannot be served, or None when it can.
        step_into: Like `step`, but reads the states where they lie in a pool, at the rows that a tensor lists or at all
            rows for None, writes the new ones to the same rows of another pool, which may be the same, and returns the
            output alone. None when the backend can do no better than to copy the rows.
    """

    name: str
    run: Callable[[Inputs, Tensor | None, Tensor | None, int | None], tuple[Tensor, Tensor]]
    step: Callable[[Inputs, Tensor], tuple[Tensor, Tensor]]
    unusable: Callable[[Request], str | None]
    step_into: Callable[[Inputs, Tensor, Tensor, Tensor | None], Tensor] | None = None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Element type of the arithmetic and of the state: float64 for float64 inputs, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32
