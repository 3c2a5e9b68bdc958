"""Runs the kernels: memory for what they write, and their order."""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import contextlib
import functools
from typing import NamedTuple

import torch
from torch import Tensor

from modrwkv_kernels.backend import Inputs
from modrwkv_kernels.wkv_triton.backward import gradient_kernel, reverse_scan_kernel
from modrwkv_kernels.wkv_triton.forward import chunk_scan_kernel, prepare_kernel
from modrwkv_kernels.wkv_triton.plan import CHUNK, Plan, Tuning, aligned, running_sums
from modrwkv_kernels.wkv_triton.step import step_kernel

__all__ = ["TUNING", "SavedTensors", "backward", "forward", "step"]

TUNING = Tuning()
"""The launch parameters in use."""

_PLANS = 64  # that are remembered


@functools.lru_cache(_PLANS)
def _plan_of(
    shape: torch.Size,
    dtypes: tuple[torch.dtype, torch.dtype],
    device: torch.device,
    sequences: int,
    packed: bool,
    block: int,
    tuning: Tuning,
) -> Plan:
    # A plan's binaries are for tensors of these types on this device, so each has a plan of its own.
    return Plan(shape, dtypes[0], device, sequences, packed=packed, block=block, tuning=tuning)


def _plan(inputs: list[Tensor], bounds: Tensor | None, block: int, tuning: Tuning) -> Plan:
    r, log_w = inputs[:2]
    sequences = len(r) if bounds is None else len(bounds) - 1
    return _plan_of(r.shape, (r.dtype, log_w.dtype), r.device, sequences, bounds is not None, block, tuning)


def _on(x: Tensor) -> contextlib.AbstractContextManager[object]:
    elsewhere = x.is_cuda and x.device.index != torch.cuda.current_device()
    return torch.cuda.device(x.device) if elsewhere else contextlib.nullcontext()


class SavedTensors(NamedTuple):
    """What the forward pass saves for the backward pass besides the inputs, as :mod:`.forward` names it.

    Attributes:
        chunk_states: The states at the starts of blocks, `[blocks, heads, value, key]`.
        u: What the state held in the removal directions, shaped like the output.
        tiles: W, B', R'' and T^T B' of all chunks, `[4, blocks, heads, chunks of a block, chunk, key]`.
        returned: [R B'] T of all chunks, `[blocks, heads, chunks of a block, chunk, chunk]`.
        chunk_decay: How much of the state each chunk leaves, float32 `[blocks, heads, chunks of a block, key]`.
    """

    chunk_states: Tensor
    u: Tensor
    tiles: Tensor
    returned: Tensor
    chunk_decay: Tensor


def forward(
    inputs: Inputs,
    state: Tensor | None,
    cu_seqlens: Tensor | None,
    block: int,
    save: bool,
    tuning: Tuning | None = None,
) -> tuple[Tensor, Tensor, SavedTensors]:
    """Run WKV-7.

    Args:
        inputs: `[batch, tokens, heads, head size]` each.
        state: Initial state, float32 `[sequences, heads, value, key]`, or None for zeros.
        cu_seqlens: Cumulative lengths of packed sequences, int64, on the device of the inputs.
        block: Tokens of a block, a multiple of those of a chunk.
        save: Whether to return what the backward pass needs.
        tuning: Launch parameters; None for :data:`TUNING`.

    Returns:
        Output, final state, and what the backward pass needs; without `save` that is empty.
    """
    tensors = [aligned(tensor) for tensor in inputs]
    r, log_w, k, v, a, b = tensors
    bounds = None if cu_seqlens is None else aligned(cu_seqlens)
    plan = _plan(tensors, bounds, block, tuning or TUNING)
    heads, size = plan.heads, plan.size
    grid = (plan.blocks, heads, plan.parts)
    none = (0, heads, plan.parts)  # What the backward pass needs is empty when there will be none.
    y = torch.empty_like(r)
    final = r.new_empty(plan.sequences, heads, size, size, dtype=torch.float32)
    tiles = r.new_empty(4, *grid, CHUNK, size, dtype=plan.operand)
    writing = r.new_empty(*grid, CHUNK, size, dtype=plan.operand)
    squares = r.new_empty(2, *grid, CHUNK, CHUNK, dtype=plan.operand)
    returned = r.new_empty(*(grid if save else none), CHUNK, CHUNK, dtype=plan.operand)
    chunk_decay = r.new_empty(*grid, size, dtype=torch.float32)
    chunk_states = r.new_empty(plan.blocks if save else 0, heads, size, size, dtype=plan.operand)
    u = torch.empty_like(r) if save else r.new_empty(0)
    removal, replacement, reading, returning = tiles.unbind()
    direct, entering = squares.unbind()
    state = None if state is None else aligned(state)
    for_backward = (entering, returning, returned) if save else (None, None, None)
    with _on(y):
        plan.prepare(
            prepare_kernel, r, log_w, k, a, b, removal, replacement, reading, writing, direct, chunk_decay,
            *for_backward, bounds,
        )  # fmt: skip
        prepared = (v, removal, replacement, reading, writing, direct, for_backward[0], chunk_decay)
        operators = _operators(plan, y)
        if operators is not None:
            plan.scan(chunk_scan_kernel, *prepared, None, None, None, None, None, operators, bounds, double=True)
        results = (y, final, chunk_states, u) if save else (y, final, None, None)
        plan.scan(chunk_scan_kernel, *prepared, state, *results, operators, bounds)
    if not save:
        tiles, chunk_decay = tiles.new_empty(4, *none, CHUNK, size), chunk_decay.new_empty(*none, size)
    return y, final, SavedTensors(chunk_states, u, tiles, returned, chunk_decay)


def backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    inputs: Inputs,
    saved: SavedTensors,
    cu_seqlens: Tensor | None,
    block: int,
    tuning: Tuning | None = None,
) -> tuple[Inputs, Tensor]:
    """Gradients of :func:`forward`.

    Args:
        dy: Gradient of the output, or None for zeros.
        dfinal: Gradient of the final state, or None for zeros.
        inputs: As there.
        saved: What it returned for this.
        cu_seqlens: As there.
        block: As there.
        tuning: Launch parameters; None for :data:`TUNING`.

    Returns:
        Gradients of the inputs and of the initial state.
    """
    x = [aligned(tensor) for tensor in inputs]
    dy = torch.zeros_like(x[0]) if dy is None else aligned(dy)
    dfinal = None if dfinal is None else aligned(dfinal)
    assert dy.dtype == x[0].dtype
    assert dfinal is None or dfinal.dtype == torch.float32
    bounds = None if cu_seqlens is None else aligned(cu_seqlens)
    plan = _plan(x, bounds, block, tuning or TUNING)
    gradients = Inputs(*(torch.empty_like(tensor) for tensor in x))
    dstate = dy.new_empty(plan.sequences, plan.heads, plan.size, plan.size, dtype=torch.float32)
    dends, du = torch.empty_like(saved.chunk_states), torch.empty_like(dy)
    removal, replacement, reading, returning = saved.tiles.unbind()
    with _on(dy):
        prepared = (dy, removal, replacement, reading, saved.chunk_decay, returning, saved.returned)
        operators = _operators(plan, dy)
        if operators is not None:
            plan.scan(reverse_scan_kernel, *prepared, None, None, None, None, operators, bounds, double=True)
        plan.scan(reverse_scan_kernel, *prepared, dfinal, dstate, dends, du, operators, bounds)
        sums = running_sums(block, plan.operand, dy.device)
        plan.gradients(gradient_kernel, *x, dy, saved.u, du, saved.chunk_states, dends, sums, *gradients, bounds)
    return gradients, dstate


def _operators(plan: Plan, like: Tensor) -> Tensor | None:
    """Memory for what segments do to states, where there are several in a sequence."""
    if not plan.split:
        return None
    return like.new_empty(plan.segments, plan.heads, 2 * plan.size, plan.size, dtype=torch.float32)


def step(token: Inputs, state: Tensor, out: Tensor, slots: Tensor | None, tuning: Tuning | None = None) -> Tensor:
    """Advance states by one token.

    Args:
        token: `[batch, heads, head size]` each.
        state: Contiguous float32 `[slots, heads, value, key]`.
        out: Where the new states go; the same layout, or `state` itself.
        slots: Slot of each batch item, or None when they are the same.
        tuning: Launch parameters; None for :data:`TUNING`.

    Returns:
        Output `[batch, heads, head size]`.
    """
    tuning = tuning or TUNING
    x = Inputs(*(tensor.contiguous() for tensor in token))
    batch, heads, size = x.r.shape
    y = torch.empty_like(x.r)
    with _on(y):
        if y.numel():
            step_kernel[(batch * heads * (size // tuning.step_values),)](
                *x, state, out, slots, y, heads=heads, N=size, VALUES=tuning.step_values, num_warps=1
            )
    return y
