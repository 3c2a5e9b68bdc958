"""Backward kernels: a walk back that carries the gradient of the state, then the gradients of all chunks at once.

The formulas are those of :mod:`modrwkv_kernels.chunked`, the names those of :mod:`modrwkv_kernels.wkv_triton.tiles`.
The gradient of a chunk's last state is passed on scaled by the decay of the whole chunk: so it meets k and b as the
forward pass scaled them.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from modrwkv_kernels.wkv_triton.tiles import decay, find_block, first_block, scaled, span, token_offsets

__all__ = ["gradient_kernel", "walk_back_kernel"]


@triton.jit(do_not_specialize=["sequences", "tokens"])
def walk_back_kernel(
    r,
    log_w,
    a,
    b,
    dy,
    inverse,  # [chunks, heads, C, C]
    dstate,  # [segments, heads, V, K], or None for zeros
    dinitial,  # [sequences, heads, V, K]
    dends,  # [chunks, heads, K, V]
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
    STAGES: tl.constexpr,
):
    """Walk back over the chunks of one segment with a slice of the gradient of one head's state.

    `operators` are as in the forward walk: what the segment does to any gradient that arrives at its end.
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
        idle |= index == 0
    if idle:
        return
    row_C, key_K, value_V = tl.arange(0, C), tl.arange(0, N), part * VALUES + tl.arange(0, VALUES)
    up_to_CC = row_C[:, None] >= row_C[None, :]

    if operators is not None:
        dstate_KV = tl.where(key_K[:, None] == value_V[None, :] - N, 1.0, 0.0)
    elif dstate is None:
        dstate_KV = tl.zeros([N, VALUES], dtype=tl.float32)
    else:
        at_state_KV = (number.to(tl.int64) * heads + head) * N * N + value_V[None, :] * N + key_K[:, None]
        dstate_KV = tl.load(dstate + at_state_KV)

    chunks = tl.cdiv(end - begin, C)
    base = first_block(bounds, sequence, tokens, C) + begin // C
    for step in tl.range(0, chunks, num_stages=STAGES):
        chunk = chunks - 1 - step
        start = begin + chunk * C
        live_C1 = (start + row_C < end)[:, None]
        at_CK = token_offsets(first + start, head, row_C, key_K, heads, N)
        at_CV = token_offsets(first + start, head, row_C, value_V, heads, N)
        step_CK, sum_CK = decay(log_w, at_CK, live_C1)
        a_CK = scaled(a, at_CK, live_C1, sum_CK - step_CK).to(OPERAND)
        r_CK = scaled(r, at_CK, live_C1, sum_CK).to(OPERAND)
        b_CK = scaled(b, at_CK, live_C1, -sum_CK).to(OPERAND)
        dy_CV = tl.load(dy + at_CV, mask=live_C1 & (value_V < N)[None, :], other=0.0).to(OPERAND)
        at_block = (base + chunk).to(tl.int64) * heads + head
        inverse_CC = tl.load(inverse + at_block * C * C + row_C[:, None] * C + row_C[None, :])

        dstate_KV *= tl.exp2(tl.sum(step_CK, axis=0))[:, None]
        dend_KV = dstate_KV.to(OPERAND)
        if operators is None:
            at_KV = at_block * N * N + key_K[:, None] * N + value_V[None, :]
            tl.store(dends + at_KV, dend_KV.to(dends.dtype.element_ty))
        rb_CC = tl.dot(r_CK, tl.trans(b_CK), input_precision=PRECISION)
        rb_CC = tl.where(up_to_CC, rb_CC, 0.0).to(OPERAND)
        du_CV = tl.dot(b_CK, dend_KV, input_precision=PRECISION)
        du_CV = tl.dot(tl.trans(rb_CC), dy_CV, du_CV, input_precision=PRECISION)
        du_CV = tl.dot(tl.trans(inverse_CC), du_CV.to(OPERAND), input_precision=PRECISION).to(OPERAND)
        dstate_KV = tl.dot(tl.trans(r_CK), dy_CV, dstate_KV, input_precision=PRECISION)
        dstate_KV = tl.dot(tl.trans(a_CK), du_CV, dstate_KV, input_precision=PRECISION)

    if operators is not None:
        at_KV = (number.to(tl.int64) * heads + head) * N * 2 * N + key_K[:, None] * 2 * N + value_V[None, :]
        tl.store(operators + at_KV, dstate_KV)
    elif index == 0:
        at_initial_KV = (sequence.to(tl.int64) * heads + head) * N * N + value_V[None, :] * N + key_K[:, None]
        tl.store(dinitial + at_initial_KV, dstate_KV)


@triton.jit(do_not_specialize=["sequences", "tokens"])
def gradient_kernel(
    r,
    log_w,
    k,
    v,
    a,
    b,
    dy,
    inverse,  # [chunks, heads, C, C]
    starts,  # [chunks, heads, K, V]
    dends,  # [chunks, heads, K, V]
    dr,
    dlog_w,
    dk,
    dv,
    da,
    db,
    bounds,
    sequences,
    tokens,
    heads: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    REFINE: tl.constexpr,
):
    """Gradients of the inputs of one chunk and head, from the states around it and what is recomputed inside.

    With REFINE a and b enter the products that make each other's gradients as sums of two operands: where removal
    directions are nearly parallel, these gradients are small differences of large sums.
    """
    program = tl.program_id(0)
    chunk, head = program // heads, program % heads
    sequence, index = find_block(bounds, chunk, sequences, tokens, C)
    first, length = span(bounds, sequence, tokens)
    if index * C >= length:
        return
    row_C, key_K = tl.arange(0, C), tl.arange(0, N)
    up_to_CC, before_CC = row_C[:, None] >= row_C[None, :], row_C[:, None] > row_C[None, :]
    live_C1 = (index * C + row_C < length)[:, None]
    at_CK = token_offsets(first + index * C, head, row_C, key_K, heads, N)
    at_block = chunk.to(tl.int64) * heads + head
    at_KV = at_block * N * N + key_K[:, None] * N + key_K[None, :]

    step_CK, sum_CK = decay(log_w, at_CK, live_C1)
    r_CK = scaled(r, at_CK, live_C1, sum_CK).to(OPERAND)
    k_CK = scaled(k, at_CK, live_C1, -sum_CK).to(OPERAND)
    a_CK = scaled(a, at_CK, live_C1, sum_CK - step_CK).to(OPERAND)
    b_CK = scaled(b, at_CK, live_C1, -sum_CK).to(OPERAND)
    v_CV = tl.load(v + at_CK, mask=live_C1, other=0.0).to(OPERAND)
    dy_CV = tl.load(dy + at_CK, mask=live_C1, other=0.0).to(OPERAND)
    start_KV = tl.load(starts + at_KV).to(OPERAND)
    dend_KV = tl.load(dends + at_KV).to(OPERAND)
    inverse_CC = tl.load(inverse + at_block * C * C + row_C[:, None] * C + row_C[None, :])

    # Forward: u.
    ak_CC = tl.dot(a_CK, tl.trans(k_CK), input_precision=PRECISION)
    ak_CC = tl.where(before_CC, ak_CC, 0.0).to(OPERAND)
    u_CV = tl.dot(a_CK, start_KV, input_precision=PRECISION)
    u_CV = tl.dot(ak_CC, v_CV, u_CV, input_precision=PRECISION)
    u_CV = tl.dot(inverse_CC, u_CV.to(OPERAND), input_precision=PRECISION).to(OPERAND)

    # Backward: the gradient of u's right-hand side, and of v.
    rb_CC = tl.dot(r_CK, tl.trans(b_CK), input_precision=PRECISION)
    rb_CC = tl.where(up_to_CC, rb_CC, 0.0).to(OPERAND)
    du_CV = tl.dot(b_CK, dend_KV, input_precision=PRECISION)
    du_CV = tl.dot(tl.trans(rb_CC), dy_CV, du_CV, input_precision=PRECISION)
    du_CV = tl.dot(tl.trans(inverse_CC), du_CV.to(OPERAND), input_precision=PRECISION).to(OPERAND)
    rk_CC = tl.dot(r_CK, tl.trans(k_CK), input_precision=PRECISION)
    rk_CC = tl.where(up_to_CC, rk_CC, 0.0).to(OPERAND)
    dv_CV = tl.dot(k_CK, dend_KV, input_precision=PRECISION)
    dv_CV = tl.dot(tl.trans(rk_CC), dy_CV, dv_CV, input_precision=PRECISION)
    dv_CV = tl.dot(tl.trans(ak_CC), du_CV, dv_CV, input_precision=PRECISION)
    tl.store(dv + at_CK, dv_CV.to(dv.dtype.element_ty), mask=live_C1)

    # What tokens of the chunk do to each other. The inputs are read again where they meet their gradients: registers
    # are scarcer than reads from the cache.
    drk_CC = tl.dot(dy_CV, tl.trans(v_CV), input_precision=PRECISION)
    drk_CC = tl.where(up_to_CC, drk_CC, 0.0).to(OPERAND)
    drb_CC = tl.dot(dy_CV, tl.trans(u_CV), input_precision=PRECISION)
    drb_CC = tl.where(up_to_CC, drb_CC, 0.0).to(OPERAND)
    dr_CK = tl.dot(dy_CV, tl.trans(start_KV), input_precision=PRECISION)
    dr_CK = tl.dot(drk_CC, k_CK, dr_CK, input_precision=PRECISION)
    dr_CK = tl.dot(drb_CC, b_CK, dr_CK, input_precision=PRECISION) * tl.exp2(sum_CK)
    tl.store(dr + at_CK, dr_CK.to(dr.dtype.element_ty), mask=live_C1)
    at_now_CK = tl.load(r + at_CK, mask=live_C1, other=0.0).to(tl.float32) * dr_CK

    dak_CC = tl.dot(du_CV, tl.trans(v_CV), input_precision=PRECISION)
    dak_CC = tl.where(before_CC, dak_CC, 0.0).to(OPERAND)
    dab_CC = tl.dot(du_CV, tl.trans(u_CV), input_precision=PRECISION)
    dab_CC = tl.where(before_CC, dab_CC, 0.0).to(OPERAND)
    da_CK = tl.dot(du_CV, tl.trans(start_KV), input_precision=PRECISION)
    da_CK = tl.dot(dak_CC, k_CK, da_CK, input_precision=PRECISION)
    da_CK = tl.dot(dab_CC, b_CK, da_CK, input_precision=PRECISION)
    if REFINE:
        low_CK = (scaled(b, at_CK, live_C1, -sum_CK) - b_CK.to(tl.float32)).to(OPERAND)
        da_CK = tl.dot(dab_CC, low_CK, da_CK, input_precision=PRECISION)
    da_CK *= tl.exp2(sum_CK - step_CK)
    tl.store(da + at_CK, da_CK.to(da.dtype.element_ty), mask=live_C1)
    at_before_CK = tl.load(a + at_CK, mask=live_C1, other=0.0).to(tl.float32) * da_CK

    dk_CK = tl.dot(v_CV, tl.trans(dend_KV), input_precision=PRECISION)
    at_end_K = tl.sum(k_CK.to(tl.float32) * dk_CK, axis=0)
    dk_CK = tl.dot(tl.trans(drk_CC), r_CK, dk_CK, input_precision=PRECISION)
    dk_CK = tl.dot(tl.trans(dak_CC), a_CK, dk_CK, input_precision=PRECISION) * tl.exp2(-sum_CK)
    tl.store(dk + at_CK, dk_CK.to(dk.dtype.element_ty), mask=live_C1)
    at_now_CK -= tl.load(k + at_CK, mask=live_C1, other=0.0).to(tl.float32) * dk_CK

    db_CK = tl.dot(u_CV, tl.trans(dend_KV), input_precision=PRECISION)
    at_end_K += tl.sum(b_CK.to(tl.float32) * db_CK, axis=0)
    db_CK = tl.dot(tl.trans(drb_CC), r_CK, db_CK, input_precision=PRECISION)
    db_CK = tl.dot(tl.trans(dab_CC), a_CK, db_CK, input_precision=PRECISION)
    if REFINE:
        low_CK = (scaled(a, at_CK, live_C1, sum_CK - step_CK) - a_CK.to(tl.float32)).to(OPERAND)
        db_CK = tl.dot(tl.trans(dab_CC), low_CK, db_CK, input_precision=PRECISION)
    db_CK *= tl.exp2(-sum_CK)
    tl.store(db + at_CK, db_CK.to(db.dtype.element_ty), mask=live_C1)
    at_now_CK -= tl.load(b + at_CK, mask=live_C1, other=0.0).to(tl.float32) * db_CK

    # The decay of a token scales r from there on, a from the next token on, and k and b up to the end.
    start_end_KV = tl.load(starts + at_KV).to(tl.float32) * tl.load(dends + at_KV).to(tl.float32)
    at_end_K += tl.sum(start_end_KV, axis=1)
    dlog_w_CK = tl.cumsum(at_now_CK + at_before_CK, axis=0, reverse=True) - at_before_CK + at_end_K[None, :]
    tl.store(dlog_w + at_CK, dlog_w_CK.to(dlog_w.dtype.element_ty), mask=live_C1)
