"""The `cpu` backend: the compiled recurrence, registered as torch.library ops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modrwkv_kernels.backend import DEFAULT_CHUNK_SIZE, Backend, Inputs, Request, compute_dtype
from modrwkv_kernels.native import HEAD_SIZES, why_missing
from modrwkv_kernels.op_gradient import BACKWARD_SCHEMA, FORWARD_SCHEMA, connect, fake_forward, needs_gradient

__all__ = ["BACKEND"]


def _fake_forward(*arguments: Any) -> tuple[Tensor, ...]:
    # Behind the state at a chunk's start it keeps what states held in the removal directions of the chunk's tokens.
    y, final, starts = fake_forward(*arguments)
    chunks, heads, size, _ = starts.shape
    chunk_size = arguments[-2]
    return y, final, starts.new_empty(chunks, heads, size + chunk_size, size)


torch.library.define("modrwkv_kernels::wkv7_cpu", FORWARD_SCHEMA)
torch.library.define("modrwkv_kernels::wkv7_cpu_backward", BACKWARD_SCHEMA)
_wkv7 = connect("modrwkv_kernels::wkv7_cpu", "modrwkv_kernels::wkv7_cpu_backward", fake_forward=_fake_forward)


def _run(
    inputs: Inputs, state: Tensor | None, cu_seqlens: Tensor | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    y, final = _wkv7(
        *inputs.to(torch.float32),
        state,
        cu_seqlens,
        chunk_size or DEFAULT_CHUNK_SIZE,
        needs_gradient(inputs, state),
    )
    return y.to(inputs.r.dtype), final


def _step(token: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    y, new_state = _run(Inputs(*(x.unsqueeze(1) for x in token)), state, None, None)
    return y.squeeze(1), new_state


def _unusable(request: Request) -> str | None:
    missing = why_missing()
    if missing is not None:
        return missing
    if request.device.type != "cpu":
        return f"it takes tensors in CPU memory, not on {request.device}"
    if compute_dtype(request.dtype) != torch.float32:
        return f"it computes in float32, not {request.dtype}"
    if request.head_size not in HEAD_SIZES:
        return f"it takes heads of {HEAD_SIZES}, not {request.head_size}"
    return None


BACKEND = Backend("cpu", _run, _step, _unusable)
