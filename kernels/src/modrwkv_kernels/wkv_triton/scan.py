"""Connects the segments of a sequence: from what each does to a state to the state that each begins with."""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from modrwkv_kernels.wkv_triton.tiles import first_block, span

__all__ = ["scan_kernel"]


@triton.jit(do_not_specialize=["sequences", "tokens"])
def scan_kernel(
    operators,  # [segments, heads, K, 2 V]
    outer,  # [sequences, heads, V, K], or None for zeros
    inner,  # [segments, heads, V, K]
    bounds,
    sequences,
    tokens,
    segment,
    heads: tl.constexpr,
    N: tl.constexpr,
    VALUES: tl.constexpr,
    PRECISION: tl.constexpr,
    REVERSE: tl.constexpr,
):
    """Carry a slice of one head's state through the segments of a sequence and write what each of them starts from.

    `outer` is where the first one starts from; with REVERSE the walk goes backward in time and begins at the last.
    """
    program = tl.program_id(0)
    parts: tl.constexpr = N // VALUES
    part, head, sequence = program % parts, program // parts % heads, program // parts // heads
    _, length = span(bounds, sequence, tokens)
    base = first_block(bounds, sequence, tokens, segment)
    count = tl.maximum(tl.cdiv(length, segment), 1)
    key_K, value_V = tl.arange(0, N), part * VALUES + tl.arange(0, VALUES)
    at_KV = value_V[None, :] * N + key_K[:, None]
    if outer is None:
        state_KV = tl.zeros([N, VALUES], dtype=tl.float32)
    else:
        state_KV = tl.load(outer + (sequence.to(tl.int64) * heads + head) * N * N + at_KV)
    for step in range(count):
        at = base + step
        if REVERSE:
            at = base + count - 1 - step
        at_block = at.to(tl.int64) * heads + head
        tl.store(inner + at_block * N * N + at_KV, state_KV)
        if step + 1 < count:
            at_K = at_block * N * 2 * N + key_K[:, None] * 2 * N
            map_KK = tl.load(operators + at_K + N + key_K[None, :])
            drive_KV = tl.load(operators + at_K + value_V[None, :])
            state_KV = tl.dot(map_KK, state_KV, drive_KV, input_precision=PRECISION)
