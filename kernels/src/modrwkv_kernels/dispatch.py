"""Which backend serves a call, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from modrwkv_kernels import chunked_op, cpu_op, reference, triton_op
from modrwkv_kernels.backend import Backend, Request

__all__ = ["Dispatch", "available_backends", "explain_dispatch", "select"]

# In the order of preference of "auto".
_BACKENDS = (cpu_op.BACKEND, triton_op.BACKEND, chunked_op.BACKEND, reference.BACKEND)


@dataclass(frozen=True)
class Dispatch:
    """The outcome of choosing a backend.

    Args:
        chosen: Name of the backend that serves the call.
        reasons: For every backend, in order of preference, None when it can serve the call, or why it cannot.
    """

    chosen: str
    reasons: dict[str, str | None]

    def __str__(self) -> str:
        lines = [
            f"{'*' if name == self.chosen else ' '} {name:<10} {'usable' if reason is None else f'unusable: {reason}'}"
            for name, reason in self.reasons.items()
        ]
        return "\n".join(lines)


def select(backend: str, request: Request) -> Backend:
    """The backend that serves a request.

    Raises:
        ValueError: The named backend does not exist or cannot serve the request.
    """
    if backend == "auto":
        return next(candidate for candidate in _BACKENDS if candidate.unusable(request) is None)
    for candidate in _BACKENDS:
        if candidate.name == backend:
            reason = candidate.unusable(request)
            if reason is not None:
                raise ValueError(f"backend {backend!r} cannot be used here: {reason}")
            return candidate
    names = ", ".join(repr(candidate.name) for candidate in _BACKENDS)
    raise ValueError(f"there is no backend {backend!r}; choose 'auto' or one of {names}")


def explain_dispatch(
    backend: str = "auto",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    head_size: int = 64,
    chunk_size: int | None = None,
) -> Dispatch:
    """Say which backend would serve a call and why each of the others could not.

    Args:
        backend: As for :func:`modrwkv_kernels.wkv7`.
        device: Where the tensors are.
        dtype: Element type of `r, k, v, a, b`.
        head_size: Width of one head.
        chunk_size: As for :func:`modrwkv_kernels.wkv7`.

    Raises:
        ValueError: The named backend does not exist or cannot serve the call.
    """
    request = Request(torch.device(device), dtype, head_size, chunk_size)
    reasons = {candidate.name: candidate.unusable(request) for candidate in _BACKENDS}
    return Dispatch(select(backend, request).name, reasons)


def available_backends(device: torch.device | str = "cpu") -> tuple[str, ...]:
    """Names of the backends that can serve float32 calls on a device, in the order in which "auto" prefers them."""
    return tuple(name for name, reason in explain_dispatch(device=device).reasons.items() if reason is None)
