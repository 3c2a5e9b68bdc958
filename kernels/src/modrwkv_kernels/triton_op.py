"""The `triton` backend: the kernels of :mod:`modrwkv_kernels.wkv_triton` as torch.library ops, on NVIDIA GPUs.

Triton itself is imported when the first kernel is launched.
"""

from __future__ import annotations

import torch
from torch import Tensor

from modrwkv_kernels.backend import Backend, Inputs
from modrwkv_kernels.cu_seqlens import CuSeqlens
from modrwkv_kernels.op_gradient import connect, needs_gradient
from modrwkv_kernels.ragged import block_capacity

__all__ = ["BACKEND"]

_CHUNK = 16  # tokens whose inputs are multiplied at once

_FORWARD_SCHEMA = (
    "(Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor? state, Tensor? cu_seqlens, "
    "int chunk_size, bool save) -> (Tensor y, Tensor final, Tensor chunk_states, Tensor u, Tensor tiles, "
    "Tensor returned, Tensor chunk_decay)"
)
_BACKWARD_SCHEMA = (
    "(Tensor? dy, Tensor? dfinal, Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor chunk_states, "
    "Tensor u, Tensor tiles, Tensor returned, Tensor chunk_decay, Tensor? cu_seqlens, int chunk_size) -> (Tensor dr, "
    "Tensor dlog_w, Tensor dk, Tensor dv, Tensor da, Tensor db, Tensor dstate)"
)
_STEP_SCHEMA = (
    "(Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor state, Tensor(a!) out, Tensor? slots) "
    "-> Tensor y"
)


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
    save: bool,
) -> tuple[Tensor, ...]:
    from modrwkv_kernels.wkv_triton import launch

    y, final, saved = launch.forward(Inputs(r, log_w, k, v, a, b), state, cu_seqlens, chunk_size, save)
    return y, final, *saved


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
    u: Tensor,
    tiles: Tensor,
    returned: Tensor,
    chunk_decay: Tensor,
    cu_seqlens: Tensor | None,
    chunk_size: int,
) -> tuple[Tensor, ...]:
    from modrwkv_kernels.wkv_triton import launch

    inputs, saved = Inputs(r, log_w, k, v, a, b), launch.SavedTensors(chunk_states, u, tiles, returned, chunk_decay)
    gradients, dstate = launch.backward(dy, dfinal, inputs, saved, cu_seqlens, chunk_size)
    return *gradients, dstate


def _step_op(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor,
    out: Tensor,
    slots: Tensor | None,
) -> Tensor:
    from modrwkv_kernels.wkv_triton import launch

    return launch.step(Inputs(r, log_w, k, v, a, b), state, out, slots)


def _fake_forward(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk_size: int,
    save: bool,
) -> tuple[Tensor, ...]:
    batch, tokens, heads, size = r.shape
    packed = cu_seqlens is not None
    sequences = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    blocks = block_capacity(tokens, sequences, chunk_size, packed=packed)
    operand = torch.bfloat16 if r.dtype == torch.bfloat16 else torch.float32
    grid = (blocks if save else 0, heads, chunk_size // _CHUNK)
    return (
        torch.empty_like(r, memory_format=torch.contiguous_format),
        r.new_empty(sequences, heads, size, size, dtype=torch.float32),
        r.new_empty(*grid[:2], size, size, dtype=operand),
        torch.empty_like(r, memory_format=torch.contiguous_format) if save else r.new_empty(0),
        r.new_empty(4, *grid, _CHUNK, size, dtype=operand),
        r.new_empty(*grid, _CHUNK, _CHUNK, dtype=operand),
        r.new_empty(*grid, size, dtype=torch.float32),
    )


def _fake_backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    chunk_states: Tensor,
    u: Tensor,
    tiles: Tensor,
    returned: Tensor,
    chunk_decay: Tensor,
    cu_seqlens: Tensor | None,
    chunk_size: int,
) -> tuple[Tensor, ...]:
    batch, _, heads, size = r.shape
    sequences = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (r, log_w, k, v, a, b)]
    return *gradients, r.new_empty(sequences, heads, size, size, dtype=torch.float32)


def _fake_step(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor,
    out: Tensor,
    slots: Tensor | None,
) -> Tensor:
    return torch.empty_like(r, memory_format=torch.contiguous_format)


torch.library.define("modrwkv_kernels::wkv7_triton", _FORWARD_SCHEMA)
torch.library.define("modrwkv_kernels::wkv7_triton_backward", _BACKWARD_SCHEMA)
torch.library.define("modrwkv_kernels::wkv7_triton_step", _STEP_SCHEMA)
torch.library.impl("modrwkv_kernels::wkv7_triton", "default", _forward)
torch.library.impl("modrwkv_kernels::wkv7_triton_backward", "default", _backward)
torch.library.impl("modrwkv_kernels::wkv7_triton_step", "default", _step_op)
torch.library.register_fake("modrwkv_kernels::wkv7_triton_step", _fake_step)
_wkv7 = connect(
    "modrwkv_kernels::wkv7_triton",
    "modrwkv_kernels::wkv7_triton_backward",
    forward=_forward,
    backward=_backward,
    fake_forward=_fake_forward,
    fake_backward=_fake_backward,
)


def _run(
    inputs: Inputs, state: Tensor | None, cu_seqlens: CuSeqlens | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    size = chunk_size or _block_size(inputs.r)
    offsets = None if cu_seqlens is None else cu_seqlens.device
    y, final = _wkv7(*inputs, state, offsets, size, needs_gradient(inputs, state))
    return y, final


def _block_size(r: Tensor) -> int:
    # Tiles of 32 tokens spill their registers, unless Hopper multiplies them: its products read shared memory.
    hopper = r.is_cuda and torch.cuda.get_device_properties(r.device).major == 9
    return 32 if hopper and r.dtype == torch.bfloat16 else 16


def _step(token: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    if needs_gradient(token, state):
        y, new_state = _run(Inputs(*(x.unsqueeze(1) for x in token)), state, None, None)
        return y.squeeze(1), new_state
    new_state = torch.empty_like(state, memory_format=torch.contiguous_format)
    return _step_into(token, state.contiguous(), new_state, None), new_state


def _step_into(token: Inputs, state: Tensor, out: Tensor, slots: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.modrwkv_kernels.wkv7_triton_step(*token, state, out, slots)
    return y


BACKEND = Backend("triton", _run, _step, _step_into)
