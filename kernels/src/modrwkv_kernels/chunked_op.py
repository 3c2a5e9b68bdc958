"""The `torch` backend: the chunked form as a torch.library op, on any device torch runs on."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from modrwkv_kernels import chunked, reference
from modrwkv_kernels.backend import DEFAULT_CHUNK_SIZE, Backend, Inputs, compute_dtype
from modrwkv_kernels.cu_seqlens import CuSeqlens
from modrwkv_kernels.op_gradient import BACKWARD_SCHEMA, FORWARD_SCHEMA, connect, needs_gradient
from modrwkv_kernels.ragged import ChunkList, chunk_capacity

__all__ = ["BACKEND"]

_PLANS = 8  # remembered plans


def _layout(r: Tensor, cu_seqlens: Tensor | None, chunk_size: int) -> ChunkList:
    batch, tokens, heads, _ = r.shape
    if cu_seqlens is None:
        return _plan((tokens,) * batch, heads, chunk_size, r.device)
    # In CPU memory, so nothing waits for a device.
    return _plan(tuple(cu_seqlens.diff().tolist()), heads, chunk_size, r.device)


# All layers of a model, forward and backward, share the plan of a batch.
@functools.lru_cache(_PLANS)
def _plan(lengths: tuple[int, ...], heads: int, chunk_size: int, device: torch.device) -> ChunkList:
    return ChunkList.build(list(lengths), heads, chunk_size, device)


def _forward(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk_size: int,
    save_chunk_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    _, tokens, heads, size = r.shape
    layout = _layout(r, cu_seqlens, chunk_size)
    x = Inputs(*(layout.gather(x.flatten(0, 1)) for x in (r, log_w, k, v, a, b)))
    sequences = len(layout.order)
    sorted_state = r.new_zeros(sequences, heads, size, size) if state is None else state[layout.order]
    y, sorted_final, chunk_states = chunked.forward(x, sorted_state, layout.steps)

    final = torch.empty_like(sorted_final)
    final[layout.order] = sorted_final
    if not save_chunk_states:
        chunk_states = chunk_states.new_empty(0, heads, size, size)
    elif cu_seqlens is not None:
        capacity = chunk_capacity(tokens, sequences, chunk_size)
        chunk_states = torch.cat((chunk_states, chunk_states.new_zeros(capacity - layout.chunks, heads, size, size)))
    return layout.scatter(y, r.shape), final, chunk_states


def _backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    chunk_states: Tensor,
    cu_seqlens: Tensor | None,
    chunk_size: int,
) -> tuple[Tensor, ...]:
    _, _, heads, size = r.shape
    layout = _layout(r, cu_seqlens, chunk_size)
    x = Inputs(*(layout.gather(x.flatten(0, 1)) for x in (r, log_w, k, v, a, b)))
    sequences = len(layout.order)
    dy_ZHCN = torch.zeros_like(x.r) if dy is None else layout.gather(dy.flatten(0, 1))
    sorted_dfinal = r.new_zeros(sequences, heads, size, size) if dfinal is None else dfinal[layout.order]
    gradients, sorted_dstate = chunked.backward(x, chunk_states[: layout.chunks], dy_ZHCN, sorted_dfinal, layout.steps)

    dstate = torch.empty_like(sorted_dstate)
    dstate[layout.order] = sorted_dstate
    return *(layout.scatter(gradient, r.shape) for gradient in gradients), dstate


# Not torch.library.custom_op: its first call imports torch._dynamo, seconds that a program may never need.
torch.library.define("modrwkv_kernels::wkv7_chunked", FORWARD_SCHEMA)
torch.library.define("modrwkv_kernels::wkv7_chunked_backward", BACKWARD_SCHEMA)
torch.library.impl("modrwkv_kernels::wkv7_chunked", "default", _forward)
torch.library.impl("modrwkv_kernels::wkv7_chunked_backward", "default", _backward)
_wkv7 = connect(
    "modrwkv_kernels::wkv7_chunked", "modrwkv_kernels::wkv7_chunked_backward", forward=_forward, backward=_backward
)


def _run(
    inputs: Inputs, state: Tensor | None, cu_seqlens: CuSeqlens | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    y, final = _wkv7(
        *inputs.to(compute_dtype(inputs.r.dtype)),
        state,
        None if cu_seqlens is None else cu_seqlens.on_host(),
        chunk_size or DEFAULT_CHUNK_SIZE,
        needs_gradient(inputs, state),
    )
    return y.to(inputs.r.dtype), final


BACKEND = Backend("torch", _run, reference.step)
