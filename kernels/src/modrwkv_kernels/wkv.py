"""The public functions: WKV-7 over sequences and over one token."""

from __future__ import annotations

from torch import Tensor

from modrwkv_kernels.backend import Inputs, Request
from modrwkv_kernels.checks import check_call, check_token
from modrwkv_kernels.dispatch import select

__all__ = ["wkv7", "wkv7_step"]


def wkv7(
    r: Tensor,
    log_w: Tensor,
    k: Tensor,
    v: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    output_state: bool = False,
    backend: str = "auto",
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The recurrence of RWKV-7 (arXiv 2503.14456, section 3).

    Per head, with rows of the state S standing for values and columns for keys::

        S_t = S_{t-1} diag(exp(log_w_t)) + (S_{t-1} a_t) b_t' + v_t k_t'
        y_t = S_t r_t

    RWKV-7 passes ``a = -kk`` and ``b = kk * alpha`` with the normalised removal key kk and the in-context learning rate
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
        cu_seqlens: For packed inputs the bounds of the sequences, int32 or int64 `[sequences + 1]`, from 0 to the
            number of tokens; sequences may be empty.
        output_state: Whether to return the state after the last token.
        backend: ``"auto"`` or one of :func:`modrwkv_kernels.available_backends`.
        chunk_size: Tokens (16, 32 or 64) between the states that a backend saves for the backward pass; None lets it
            choose. `triton` takes no 64.

    Returns:
        Output shaped and typed like `r`, and the final state `[sequences, heads, value, key]` or None.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value, or the backend cannot be used.
    """
    inputs = Inputs(r, log_w, k, v, a, b)
    check_call(inputs, state, cu_seqlens, chunk_size)
    chosen = select(backend, Request(r.device, r.dtype, r.shape[-1], chunk_size))
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

    With `out` it allocates nothing but its output and reads no values on the host, so that a CUDA graph can hold it,
    and there is no gradient.

    Args:
        r: `[batch, heads, head size]`; so are `log_w`, `k`, `v`, `a` and `b`, which mean what they do there.
        log_w: Natural logarithm of the decay.
        k: Key.
        v: Value.
        a: Removal direction, negated.
        b: Replacement direction.
        state: `[batch, heads, value, key]`, or with `slots` a pool `[rows, heads, value, key]`. Not written to, unless
            it is passed as `out`, too.
        out: Where the new states go: contiguous, shaped like `state`, or `state` itself.
        slots: Row of the pool for each item of the batch, int32 or int64 `[batch]`, all different; needs `out`. The
            other rows of `out` are left alone.
        backend: ``"auto"`` or one of :func:`modrwkv_kernels.available_backends`.

    Returns:
        Output shaped like `r`, and the new states: `out` if given.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value, or the backend cannot be used.
    """
    token = Inputs(r, log_w, k, v, a, b)
    check_token(token, state, out, slots)
    chosen = select(backend, Request(r.device, r.dtype, r.shape[-1]))
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
