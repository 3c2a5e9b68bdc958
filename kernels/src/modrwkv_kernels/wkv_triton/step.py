"""One token for a batch of states, in place or into another buffer, each in its slot of a pool."""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

__all__ = ["step_kernel"]


@triton.jit
def step_kernel(
    r,
    log_w,
    k,
    v,
    a,
    b,
    state,  # [slots, heads, V, K]
    out,  # [slots, heads, V, K]
    slots,  # [batch], or None when item i has slot i
    y,
    heads: tl.constexpr,
    N: tl.constexpr,
    VALUES: tl.constexpr,
):
    """Advance a slice of one head's state, as :func:`modrwkv_kernels.reference.step` does."""
    program = tl.program_id(0)
    parts: tl.constexpr = N // VALUES
    part, block = program % parts, program // parts
    item, head = block // heads, block % heads
    row = item
    if slots is not None:
        row = tl.load(slots + item)
    key_K, value_V = tl.arange(0, N), part * VALUES + tl.arange(0, VALUES)
    at_K, at_V = block * N + key_K, block * N + value_V
    at_VK = (row.to(tl.int64) * heads + head) * N * N + value_V[:, None] * N + key_K[None, :]

    state_VK = tl.load(state + at_VK)
    a_K = tl.load(a + at_K).to(tl.float32)
    u_V = tl.sum(state_VK * a_K[None, :], axis=1)
    state_VK *= tl.exp(tl.load(log_w + at_K).to(tl.float32))[None, :]
    state_VK += u_V[:, None] * tl.load(b + at_K).to(tl.float32)[None, :]
    state_VK += tl.load(v + at_V).to(tl.float32)[:, None] * tl.load(k + at_K).to(tl.float32)[None, :]
    tl.store(out + at_VK, state_VK)
    y_V = tl.sum(state_VK * tl.load(r + at_K).to(tl.float32)[None, :], axis=1)
    tl.store(y + at_V, y_V.to(y.dtype.element_ty))
