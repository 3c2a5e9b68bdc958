"""Connects a pair of torch.library ops, forward and backward, so that autograd and torch.compile see through them.

Every compiled backend registers two ops of one shape. The forward op also returns the tensors that it saves for its
backward besides the inputs, such as the states at chunk starts. The backward op is an op of its own, so that a compiled
graph can hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modrwkv_kernels.backend import Inputs
from modrwkv_kernels.ragged import chunk_capacity

__all__ = ["BACKWARD_SCHEMA", "FORWARD_SCHEMA", "connect", "fake_forward", "needs_gradient"]

FORWARD_SCHEMA = (
    "(Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor? state, Tensor? cu_seqlens, "
    "int chunk_size, bool save_chunk_states) -> (Tensor y, Tensor final, Tensor chunk_states)"
)
BACKWARD_SCHEMA = (
    "(Tensor? dy, Tensor? dfinal, Tensor r, Tensor log_w, Tensor k, Tensor v, Tensor a, Tensor b, Tensor chunk_states, "
    "Tensor? cu_seqlens, int chunk_size) -> (Tensor dr, Tensor dlog_w, Tensor dk, Tensor dv, Tensor da, Tensor db, "
    "Tensor dstate)"
)


Implementation = Callable[..., tuple[Tensor, ...]]
_PLAIN = (Tensor, torch.nn.Parameter)


def fake_forward(
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
    """Shapes of what an op with :data:`FORWARD_SCHEMA` returns."""
    batch, tokens, heads, size = r.shape
    if cu_seqlens is None:
        sequences, chunks = batch, batch * ((tokens + chunk_size - 1) // chunk_size)
    else:
        sequences = cu_seqlens.shape[0] - 1
        chunks = chunk_capacity(tokens, sequences, chunk_size)
    return (
        torch.empty_like(r, memory_format=torch.contiguous_format),
        r.new_empty(sequences, heads, size, size),
        r.new_empty(chunks if save_chunk_states else 0, heads, size, size),
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
    cu_seqlens: Tensor | None,
    chunk_size: int,
) -> tuple[Tensor, ...]:
    batch, _, heads, size = r.shape
    sequences = batch if cu_seqlens is None else cu_seqlens.shape[0] - 1
    gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (r, log_w, k, v, a, b)]
    return *gradients, r.new_empty(sequences, heads, size, size)


def needs_gradient(inputs: Inputs, state: Tensor | None) -> bool:
    """Whether a forward op must save what its backward needs."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, state) if x is not None)


def connect(
    forward_op: str,
    backward_op: str,
    *,
    forward: Implementation | None = None,
    backward: Implementation | None = None,
    fake_forward: Implementation = fake_forward,
    fake_backward: Implementation = _fake_backward,
) -> Implementation:
    """Register shape functions and the gradient formula of an op pair.

    Args:
        forward_op: Qualified name of an op with :data:`FORWARD_SCHEMA`, or one that returns more than the states at
            chunk starts after the final state.
        backward_op: Qualified name of an op with :data:`BACKWARD_SCHEMA`, or one that takes all of that.
        forward: What the forward op runs, where that is a Python function.
        backward: What the backward op runs, where that is a Python function.
        fake_forward: Shape function of the forward op.
        fake_backward: Shape function of the backward op.

    Returns:
        A function that takes the forward op's arguments and returns its first two results. It bypasses torch's
        dispatcher, which takes longer than a short kernel runs, wherever nothing watches the ops of a call.
    """
    op, op_backward = _op(forward_op), _op(backward_op)
    op_alone, forward_alone = _below_autograd(op), _below_autograd(forward or op)
    watched = _differentiable(op_alone, op_backward, returns_saved=True)
    direct = _differentiable(forward_alone, _below_autograd(backward or op_backward), returns_saved=False)

    def differentiate(*inputs: Any) -> tuple[Tensor, ...]:
        *six, state, _, _, _ = inputs
        return (watched if needs_gradient(Inputs(*six), state) else op_alone)(*inputs)

    def call(*inputs: Any) -> tuple[Tensor, ...]:
        *tensors, _, save = inputs
        if _watched(tensors):
            return op(*inputs)[:2]  # type: ignore[no-any-return]
        return direct(*inputs) if save else forward_alone(*inputs)[:2]

    torch.library.register_fake(forward_op, fake_forward)
    torch.library.register_fake(backward_op, fake_backward)
    # What torch.library.register_autograd does, in half the time.
    torch.library.impl(forward_op, "Autograd", differentiate)
    return call


def _differentiable(run: Implementation, run_backward: Implementation, *, returns_saved: bool) -> Implementation:
    """What the two functions are to autograd; with what the backward needs among its outputs, or without."""

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
            *six, state, cu_seqlens, ctx.chunk_size, _ = inputs
            y, final, *saved = run(*inputs)
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*six, *saved, cu_seqlens)
            ctx.has_state = state is not None
            if not returns_saved:
                return y, final
            ctx.mark_non_differentiable(*saved)
            return y, final, *saved

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
            *gradients, dstate = run_backward(dy, dfinal, *ctx.saved_tensors, ctx.chunk_size)
            return *gradients, dstate if ctx.has_state else None, None, None, None

    return Differentiable.apply


def _below_autograd(run: Implementation) -> Implementation:
    """The same function, invisible to autograd."""

    def alone(*inputs: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            return run(*inputs)

    return alone


def _watched(tensors: list[Tensor | None]) -> bool:
    """Whether a compiler, a mode, a transform or a kind of tensor wants to see the ops of a call."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or not all(x is None or type(x) in _PLAIN for x in tensors)
    )


def _op(name: str) -> Any:
    """An op by its qualified name."""
    namespace, name = name.split("::")
    return getattr(getattr(torch.ops, namespace), name).default
