"""The `cpu` backend: the compiled recurrence, registered as torch.library ops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modrwkv_kernels.backend import DEFAULT_CHUNK_SIZE, Backend, Inputs
from modrwkv_kernels.cu_seqlens import CuSeqlens
from modrwkv_kernels.op_gradient import BACKWARD_SCHEMA, FORWARD_SCHEMA, connect, fake_forward, needs_gradient

__all__ = ["BACKEND"]


def _fake_forward(*arguments: Any) -> tuple[Tensor, ...]:
    # After the state at a chunk's start it saves u = S a of each token of the chunk.
    y, final, chunk_states = fake_forward(*arguments)
    chunks, heads, size, _ = chunk_states.shape
    chunk_size = arguments[-2]
    return y, final, chunk_states.new_empty(chunks, heads, size + chunk_size, size)


torch.library.define("modrwkv_kernels::wkv7_cpu", FORWARD_SCHEMA)
torch.library.define("modrwkv_kernels::wkv7_cpu_backward", BACKWARD_SCHEMA)
_wkv7 = connect("modrwkv_kernels::wkv7_cpu", "modrwkv_kernels::wkv7_cpu_backward", fake_forward=_fake_forward)


def _run(
    inputs: Inputs, state: Tensor | None, cu_seqlens: CuSeqlens | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    y, final = _wkv7(
        *inputs.to(torch.float32),
        state,
        None if cu_seqlens is None else cu_seqlens.on_host(),
        chunk_size or DEFAULT_CHUNK_SIZE,
        needs_gradient(inputs, state),
    )
    return y.to(inputs.r.dtype), final


def _step(token: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    y, new_state = _run(Inputs(*(x.unsqueeze(1) for x in token)), state, None, None)
    return y.squeeze(1), new_state


BACKEND = Backend("cpu", _run, _step)
