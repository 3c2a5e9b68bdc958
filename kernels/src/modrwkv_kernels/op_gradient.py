"""Connects a pair of torch.library ops, forward and backward, so that autograd and torch.compile see through them.

Every compiled backend registers two ops of one shape. The forward op also returns what its backward needs besides the
inputs (the states at chunk starts); the backward op is an op of its own, so that a compiled graph can hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from modrwkv_kernels.backend import Inputs
from modrwkv_kernels.ragged import chunk_capacity

__all__ = ["BACKWARD_SCHEMA", "FORWARD_SCHEMA", "connect", "needs_gradient"]

FORWARD_SCHEMA = (
    "(Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor? state, Tensor? cu_seqlens, "
    "int chunk_size, bool keep_starts) -> (Tensor y, Tensor final, Tensor starts)"
)
BACKWARD_SCHEMA = (
    "(Tensor? dy, Tensor? dfinal, Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor starts, "
    "Tensor? cu_seqlens, int chunk_size) -> (Tensor dr, Tensor dlog_w, Tensor dk, Tensor dv, Tensor da, Tensor db, "
    "Tensor dstate)"
)


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
    keep_starts: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, tokens, heads, size = r.shape
    if cu_seqlens is None:
        sequences, chunks = batch, batch * ((tokens + chunk_size - 1) // chunk_size)
    else:
        sequences = cu_seqlens.shape[0] - 1
        chunks = chunk_capacity(tokens, sequences, chunk_size)
    return (
        torch.empty_like(r, memory_format=torch.contiguous_format),
        r.new_empty(sequences, heads, size, size),
        r.new_empty(chunks if keep_starts else 0, heads, size, size),
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
    starts: Tensor,
    cu_seqlens: Tensor | None,
    chunk_size: int,
) -> tuple[Tensor, ...]:
    batch, _, heads, size = r.shape
    sequences = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (r, log_w, k, v, a, b)]
    return *gradients, r.new_empty(sequences, heads, size, size)


def needs_gradient(inputs: Inputs, state: Tensor | None) -> bool:
    """Whether a forward op must keep what its backward needs."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, state) if x is not None)


def connect(
    forward_op: str,
    backward_op: str,
    *,
    fake_forward: Callable[..., tuple[Tensor, ...]] = _fake_forward,
    fake_backward: Callable[..., tuple[Tensor, ...]] = _fake_backward,
) -> None:
    """Register shape functions and the gradient formula of an op pair.

    Args:
        forward_op: Qualified name of an op with :data:`FORWARD_SCHEMA`, or one that returns more than the states at
            chunk starts behind the final state.
        backward_op: Qualified name of an op with :data:`BACKWARD_SCHEMA`, or one that takes all of that.
        fake_forward: Shape function of the forward op.
        fake_backward: Shape function of the backward op.
    """
    run, run_backward = _op(forward_op), _op(backward_op)

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
            *six, state, cu_seqlens, ctx.chunk_size, _ = inputs
            with torch._C._AutoDispatchBelowAutograd():
                y, final, *kept = run(*inputs)
            ctx.set_materialize_grads(False)
            ctx.mark_non_differentiable(*kept)
            ctx.save_for_backward(*six, *kept, cu_seqlens)
            ctx.has_state = state is not None
            return y, final, *kept

        @staticmethod
        def backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
            *gradients, dstate = run_backward(dy, dfinal, *ctx.saved_tensors, ctx.chunk_size)
            return *gradients, dstate if ctx.has_state else None, None, None, None

    def differentiate(*inputs: Any) -> tuple[Tensor, ...]:
        *six, state, _, _, _ = inputs
        if needs_gradient(Inputs(*six), state):
            return Differentiable.apply(*inputs)  # type: ignore[no-any-return,no-untyped-call]
        with torch._C._AutoDispatchBelowAutograd():
            return run(*inputs)  # type: ignore[no-any-return]

    torch.library.register_fake(forward_op, fake_forward)
    torch.library.register_fake(backward_op, fake_backward)
    # What torch.library.register_autograd does, in half the time.
    torch.library.impl(forward_op, "Autograd", differentiate)


def _op(name: str) -> Any:
    """An op by its qualified name."""
    namespace, name = name.split("::")
    return getattr(getattr(torch.ops, namespace), name).default
