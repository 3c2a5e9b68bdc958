"""Forward kernels: the inverses of all chunks at once, then a walk over the chunks that carries the state.

The formulas are those of :mod:`modrwkv_kernels.chunked`, the names those of :mod:`modrwkv_kernels.wkv_triton.tiles`.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from modrwkv_kernels.wkv_triton.tiles import LOG2_E, decay, find_block, first_block, scaled, span, token_offsets

__all__ = ["inverse_kernel", "walk_kernel"]


@triton.jit(do_not_specialize=["sequences", "tokens"])
def inverse_kernel(
    log_w,
    a,
    b,
    inverse,  # [chunks, heads, C, C]
    bounds,
    sequences,
    tokens,
    heads: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    OPERAND: tl.constexpr,
    SOLVE: tl.constexpr,
):
    """Invert ``I - [A B']`` for every chunk and head.

    The inverse of a diagonal block of 2 rows is known; pairs of blocks are merged by ``T + T L T`` with L below the
    diagonal, until one is left. A power series would take as many products, and its terms grow where keys are alike.
    """
    program = tl.program_id(0)
    chunk, head = program // heads, program % heads
    sequence, index = find_block(bounds, chunk, sequences, tokens, C)
    first, length = span(bounds, sequence, tokens)
    if index * C >= length:
        return
    row_C, key_K = tl.arange(0, C), tl.arange(0, N)
    live_C1 = (index * C + row_C < length)[:, None]
    at_CK = token_offsets(first + index * C, head, row_C, key_K, heads, N)
    _, sum_CK, before_CK = decay(log_w, at_CK, live_C1, row_C, OPERAND)
    a_CK = scaled(a, at_CK, live_C1, before_CK).to(OPERAND)
    b_CK = scaled(b, at_CK, live_C1, -sum_CK).to(OPERAND)
    feedback_CC = tl.dot(a_CK, tl.trans(b_CK), input_precision=SOLVE)
    feedback_CC = tl.where(row_C[:, None] > row_C[None, :], feedback_CC, 0.0)

    inverse_CC = tl.where(row_C[:, None] // 2 == row_C[None, :] // 2, feedback_CC, 0.0)
    inverse_CC += tl.where(row_C[:, None] == row_C[None, :], 1.0, 0.0)
    for level in tl.static_range(2, 6):
        if (1 << level) <= C:
            pair_CC = (row_C[:, None] >> level) == (row_C[None, :] >> level)
            across_CC = (row_C[:, None] >> (level - 1)) != (row_C[None, :] >> (level - 1))
            low_CC = tl.where(pair_CC & across_CC, feedback_CC, 0.0)
            low_CC = tl.dot(inverse_CC, low_CC, input_precision=SOLVE)
            inverse_CC = tl.dot(low_CC, inverse_CC, inverse_CC, input_precision=SOLVE)
    at_CC = (chunk.to(tl.int64) * heads + head) * C * C + row_C[:, None] * C + row_C[None, :]
    tl.store(inverse + at_CC, inverse_CC.to(inverse.dtype.element_ty))


@triton.jit(do_not_specialize=["sequences", "tokens"])
def walk_kernel(
    r,
    log_w,
    k,
    v,
    a,
    b,
    inverse,  # [chunks, heads, C, C]
    state,  # [segments, heads, V, K], or None for zeros
    y,
    final,  # [sequences, heads, V, K]
    starts,  # [chunks, heads, K, V], or None when they are not kept
    u,  # [tokens, heads, V], or None when it is not kept
    operators,  # [segments, heads, K, 2 V], written instead of all other results; or None
    bounds,
    sequences,
    tokens,
    segment,
    heads: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    VALUES: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    REFINE: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Walk over the chunks of one segment with a slice of one head's state.

    With `operators` the walk finds out what the segment does to any state. It maps S to ``S M + F``: F is what becomes
    of a state of zeros, and the transpose of M what becomes of the unit vectors when no values come in.

    With REFINE the receptance enters as the sum of two operands, because its rounding would be a large part of the
    output's error.
    """
    program = tl.program_id(0)
    parts: tl.constexpr = (N if operators is None else 2 * N) // VALUES
    part, head, number = program % parts, program // parts % heads, program // parts // heads
    sequence, index = find_block(bounds, number, sequences, tokens, segment)
    first, length = span(bounds, sequence, tokens)
    begin = index * segment
    end = tl.minimum(length, begin + segment)
    idle = (index > 0) & (begin >= length)
    if operators is not None:
        idle |= end == length
    if idle:
        return
    row_C, key_K, value_V = tl.arange(0, C), tl.arange(0, N), part * VALUES + tl.arange(0, VALUES)
    up_to_CC, before_CC = row_C[:, None] >= row_C[None, :], row_C[:, None] > row_C[None, :]

    at_state_KV = (number.to(tl.int64) * heads + head) * N * N + value_V[None, :] * N + key_K[:, None]
    if operators is not None:
        state_KV = tl.where(key_K[:, None] == value_V[None, :] - N, 1.0, 0.0)
    elif state is None:
        state_KV = tl.zeros([N, VALUES], dtype=tl.float32)
    else:
        state_KV = tl.load(state + at_state_KV)

    chunk = first_block(bounds, sequence, tokens, C) + begin // C
    for start in tl.range(begin, end, C, num_stages=STAGES):
        live_C1 = (start + row_C < end)[:, None]
        at_CK = token_offsets(first + start, head, row_C, key_K, heads, N)
        at_CV = token_offsets(first + start, head, row_C, value_V, heads, N)
        step_CK, sum_CK, before_CK = decay(log_w, at_CK, live_C1, row_C, OPERAND)
        a_CK = scaled(a, at_CK, live_C1, before_CK).to(OPERAND)
        k_CK = scaled(k, at_CK, live_C1, -sum_CK).to(OPERAND)
        b_CK = scaled(b, at_CK, live_C1, -sum_CK).to(OPERAND)
        v_CV = tl.load(v + at_CV, mask=live_C1 & (value_V < N)[None, :], other=0.0).to(OPERAND)
        at_block = chunk.to(tl.int64) * heads + head
        inverse_CC = tl.load(inverse + at_block * C * C + row_C[:, None] * C + row_C[None, :])
        start_KV = state_KV.to(OPERAND)

        ak_CC = tl.dot(a_CK, tl.trans(k_CK), input_precision=PRECISION)
        u_CV = tl.dot(a_CK, start_KV, input_precision=PRECISION)
        u_CV = tl.dot(tl.where(before_CC, ak_CC, 0.0).to(OPERAND), v_CV, u_CV, input_precision=PRECISION)
        u_CV = tl.dot(inverse_CC, u_CV.to(OPERAND), input_precision=PRECISION)
        if u is not None:
            tl.store(u + at_CV, u_CV.to(u.dtype.element_ty), mask=live_C1)
        u_CV = u_CV.to(OPERAND)

        if operators is None:
            r_CK = scaled(r, at_CK, live_C1, sum_CK)
            high_CK = r_CK.to(OPERAND)
            rk_CC = tl.dot(high_CK, tl.trans(k_CK), input_precision=PRECISION)
            rb_CC = tl.dot(high_CK, tl.trans(b_CK), input_precision=PRECISION)
            y_CV = tl.dot(high_CK, start_KV, input_precision=PRECISION)
            if REFINE:
                low_CK = (r_CK - high_CK.to(tl.float32)).to(OPERAND)
                rk_CC = tl.dot(low_CK, tl.trans(k_CK), rk_CC, input_precision=PRECISION)
                rb_CC = tl.dot(low_CK, tl.trans(b_CK), rb_CC, input_precision=PRECISION)
                y_CV = tl.dot(low_CK, start_KV, y_CV, input_precision=PRECISION)
            y_CV = tl.dot(tl.where(up_to_CC, rk_CC, 0.0).to(OPERAND), v_CV, y_CV, input_precision=PRECISION)
            y_CV = tl.dot(tl.where(up_to_CC, rb_CC, 0.0).to(OPERAND), u_CV, y_CV, input_precision=PRECISION)
            tl.store(y + at_CV, y_CV.to(y.dtype.element_ty), mask=live_C1)
            if starts is not None:
                at_KV = at_block * N * N + key_K[:, None] * N + value_V[None, :]
                tl.store(starts + at_KV, state_KV.to(starts.dtype.element_ty))

        state_KV = tl.dot(tl.trans(k_CK), v_CV, state_KV, input_precision=PRECISION)
        state_KV = tl.dot(tl.trans(b_CK), u_CV, state_KV, input_precision=PRECISION)
        state_KV *= tl.exp2(LOG2_E * tl.sum(step_CK.to(tl.float32), axis=0))[:, None]
        chunk += 1

    if operators is not None:
        at_KV = (number.to(tl.int64) * heads + head) * N * 2 * N + key_K[:, None] * 2 * N + value_V[None, :]
        tl.store(operators + at_KV, state_KV)
    elif end == length:
        at_final_KV = (sequence.to(tl.int64) * heads + head) * N * N + value_V[None, :] * N + key_K[:, None]
        tl.store(final + at_final_KV, state_KV)
