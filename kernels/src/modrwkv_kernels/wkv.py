"""The public functions: WKV-7 over sequences and over one token."""

from __future__ import annotations

from torch import Tensor

from modrwkv_kernels import chunked_op, cpu_op, reference, triton_op
from modrwkv_kernels.backend import Inputs
from modrwkv_kernels.checks import check_call, check_token
from modrwkv_kernels.cu_seqlens import CuSeqlens
from modrwkv_kernels.dispatch import Request, select

__all__ = ["wkv7", "wkv7_step"]

_BACKENDS = {
    backend.name: backend for backend in (cpu_op.BACKEND, triton_op.BACKEND, chunked_op.BACKEND, reference.BACKEND)
}


def wkv7(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    state: Tensor | None = None,
    cu_seqlens: CuSeqlens | None = None,
    output_state: bool = False,
    backend: str = "auto",
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The recurrence of RWKV-7 (arXiv 2503.14456, section 3).

    Per head, with rows of the state S standing for values and columns for keys::

        S_t = S_{t-1} diag(exp(log_w_t)) + (S_{t-1} a_t) b_t' + v_t k_t'
        y_t = S_t r_t

    RWKV-7 passes ``a = -kk`` and ``b = kk * alpha`` with the normalized removal key kk and the in-context learning rate
    alpha. Differentiable in all six inputs and the initial state, through the output and the final state. Arithmetic
    and state are float32, for float64 inputs float64.

    Args:
        r: Receptance, `[batch, tokens, heads, head size]`; packed `[1, tokens of all sequences, heads, head size]`.
        log_w: Natural logarithm of the decay, in [-0.6065, 0]; the dtype of `r`, or float32.
        k: Key.
        v: Value.
        a: Removal direction, negated.
        b: Replacement direction.
        state: State before the first token, `[sequences, heads, value, key]`; zeros when None. Never written to.
        cu_seqlens: Where the sequences of packed inputs lie; they may be empty.
        output_state: Whether to return the state after the last token.
        backend: ``"auto"`` or one of :func:`modrwkv_kernels.available_backends`.
        chunk_size: Tokens (16, 32 or 64) between the states that a backend saves for the backward pass; None lets it
            choose. `triton` takes 16 or 32.

    Returns:
        Output shaped and typed like `r`, and the final state `[sequences, heads, value, key]` or None.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value, or the backend cannot be used.
    """
    inputs = Inputs(r, log_w, k, v, a, b)
    check_call(inputs, state, cu_seqlens, chunk_size)
    chosen = _BACKENDS[select("wkv7", Request(r.device, r.dtype, r.shape[-1], chunk_size), backend)]
    y, final = chosen.run(inputs, state, cu_seqlens, chunk_size)
    return y, final if output_state else None


def wkv7_step(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    state: Tensor,
    *,
    out: Tensor | None = None,
    slots: Tensor | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Advance :func:`wkv7` by one token.

    With `out` it allocates only its output and reads no values on the host, so a CUDA graph can capture it. Then there
    is no gradient.

    Args:
        r: `[batch, heads, head size]`; so are `log_w`, `k`, `v`, `a` and `b`, which mean what they do there.
        log_w: Natural logarithm of the decay.
        k: Key.
        v: Value.
        a: Removal direction, negated.
        b: Replacement direction.
        state: `[batch, heads, value, key]`, or with `slots` a pool `[slots, heads, value, key]`. Not written to, unless
            it is passed as `out`, too.
        out: Where the new states go: contiguous, shaped like `state`, or `state` itself.
        slots: Slot of the pool for each item of the batch, int32 or int64 `[batch]`, all different; needs `out`. The
            other slots of `out` are not changed.
        backend: ``"auto"`` or one of :func:`modrwkv_kernels.available_backends`.

    Returns:
        Output shaped like `r`, and the new states: `out` if given.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value, or the backend cannot be used.
    """
    token = Inputs(r, log_w, k, v, a, b)
    check_token(token, state, out, slots)
    chosen = _BACKENDS[select("wkv7", Request(r.device, r.dtype, r.shape[-1]), backend)]
    if out is None:
        return chosen.step(token, state)
    if chosen.step_into is not None:
        return chosen.step_into(token, state, out, slots), out
    y, new_state = chosen.step(token, state if slots is None else state[slots])
    if slots is None:
        out.copy_(new_state)
    else:
        out[slots] = new_state
    return y, out
