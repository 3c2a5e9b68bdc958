"""Backward kernels: a walk back that carries the gradient of the state, then the gradients of all chunks at once.

The formulas are those of :mod:`modrwkv_kernels.chunked`, the names those of :mod:`modrwkv_kernels.wkv_triton.tiles`.
The gradient of a chunk's last state is passed on scaled by the decay of the whole chunk: so it meets k and b as the
forward pass scaled them.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from modrwkv_kernels.wkv_triton.tiles import (
    LOG2_E,
    decay,
    find_block,
    first_block,
    scaled,
    select_sum,
    span,
    token_offsets,
)

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
    du,  # [tokens, heads, V], the gradient of what u is the solution for
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
        step_CK, sum_CK, before_CK = decay(log_w, at_CK, live_C1, row_C, OPERAND)
        a_CK = scaled(a, at_CK, live_C1, before_CK).to(OPERAND)
        r_CK = scaled(r, at_CK, live_C1, sum_CK).to(OPERAND)
        b_CK = scaled(b, at_CK, live_C1, -sum_CK).to(OPERAND)
        dy_CV = tl.load(dy + at_CV, mask=live_C1 & (value_V < N)[None, :], other=0.0).to(OPERAND)
        at_block = (base + chunk).to(tl.int64) * heads + head
        inverse_CC = tl.load(inverse + at_block * C * C + row_C[:, None] * C + row_C[None, :])

        dstate_KV *= tl.exp2(LOG2_E * tl.sum(step_CK.to(tl.float32), axis=0))[:, None]
        dend_KV = dstate_KV.to(OPERAND)
        if operators is None:
            at_KV = at_block * N * N + key_K[:, None] * N + value_V[None, :]
            tl.store(dends + at_KV, dend_KV.to(dends.dtype.element_ty))
        rb_CC = tl.dot(r_CK, tl.trans(b_CK), input_precision=PRECISION)
        rb_CC = tl.where(up_to_CC, rb_CC, 0.0).to(OPERAND)
        du_CV = tl.dot(b_CK, dend_KV, input_precision=PRECISION)
        du_CV = tl.dot(tl.trans(rb_CC), dy_CV, du_CV, input_precision=PRECISION)
        du_CV = tl.dot(tl.trans(inverse_CC), du_CV.to(OPERAND), input_precision=PRECISION)
        if operators is None:
            tl.store(du + at_CV, du_CV.to(du.dtype.element_ty), mask=live_C1)
        du_CV = du_CV.to(OPERAND)
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
    u,  # [tokens, heads, V]
    du,  # [tokens, heads, V], the gradient of what u is the solution for
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
):
    """Gradients of the inputs of one chunk and head.

    Tiles that enter alike are stacked, S = 2C rows: what reads the state (r over a, with dy over du) and what is
    written to it (k over b, with v over u). So each product is one of full height. A product that is needed transposed,
    too, is made twice: that is cheaper than to transpose it.
    """
    program = tl.program_id(0)
    chunk, head = program // heads, program % heads
    sequence, index = find_block(bounds, chunk, sequences, tokens, C)
    first, length = span(bounds, sequence, tokens)
    if index * C >= length:
        return
    row_C, row_S, key_K = tl.arange(0, C), tl.arange(0, 2 * C), tl.arange(0, N)
    token_S, lower_S1 = row_S % C, (row_S >= C)[:, None]
    live_C1, live_S1 = (index * C + row_C < length)[:, None], (index * C + token_S < length)[:, None]
    at_CK = token_offsets(first + index * C, head, row_C, key_K, heads, N)
    at_SK = token_offsets(first + index * C, head, token_S, key_K, heads, N)
    at_KV = (chunk.to(tl.int64) * heads + head) * N * N + key_K[:, None] * N + key_K[None, :]

    # A token reads after its own decay and its writes with r, but before them with a.
    last_S = tl.where(row_S >= C, token_S - 1, token_S)
    read_SC, write_SC = last_S[:, None] >= row_C[None, :], token_S[:, None] >= row_C[None, :]
    read_CS, write_CS = row_C[:, None] <= last_S[None, :], row_C[:, None] <= token_S[None, :]
    seen_SS, seeing_SS = last_S[:, None] >= token_S[None, :], token_S[:, None] <= last_S[None, :]

    decay_CK = tl.load(log_w + at_CK, mask=live_C1, other=0.0)
    kb_scale_SK = tl.exp2(-LOG2_E * select_sum(write_SC, decay_CK, OPERAND))
    kb_SK = tl.load(tl.where(lower_S1, b, k) + at_SK, mask=live_S1, other=0.0).to(tl.float32)
    kb_SK = (kb_SK * kb_scale_SK).to(OPERAND)
    dyu_SV = tl.load(tl.where(lower_S1, du, dy) + at_SK, mask=live_S1, other=0.0).to(OPERAND)
    vu_SV = tl.load(tl.where(lower_S1, u, v) + at_SK, mask=live_S1, other=0.0).to(OPERAND)
    start_KV = tl.load(starts + at_KV).to(OPERAND)
    dend_KV = tl.load(dends + at_KV).to(OPERAND)
    at_end_K = tl.sum(start_KV.to(tl.float32) * dend_KV.to(tl.float32), axis=1)

    # The inputs are read again where they meet their gradients: registers are scarcer than reads from the cache.
    dweight_SS = tl.dot(dyu_SV, tl.trans(vu_SV), input_precision=PRECISION)
    dweight_SS = tl.where(seen_SS, dweight_SS, 0.0).to(OPERAND)
    dra_SK = tl.dot(dyu_SV, tl.trans(start_KV), input_precision=PRECISION)
    dra_SK = tl.dot(dweight_SS, kb_SK, dra_SK, input_precision=PRECISION)
    ra_scale_SK = tl.exp2(LOG2_E * select_sum(read_SC, decay_CK, OPERAND))
    dra_SK *= ra_scale_SK
    tl.store(tl.where(lower_S1, da, dr) + at_SK, dra_SK.to(dr.dtype.element_ty), mask=live_S1)
    ra_SK = tl.load(tl.where(lower_S1, a, r) + at_SK, mask=live_S1, other=0.0).to(tl.float32)
    # The decay of a token scales what is read from there on, and what was written before up to the end.
    dlog_w_CK = select_sum(read_CS, ra_SK * dra_SK, OPERAND)
    ra_SK = (ra_SK * ra_scale_SK).to(OPERAND)

    weight_SS = tl.dot(kb_SK, tl.trans(ra_SK), input_precision=PRECISION)
    weight_SS = tl.where(seeing_SS & (row_S < C)[:, None], weight_SS, 0.0).to(OPERAND)
    dv_SV = tl.dot(kb_SK, dend_KV, input_precision=PRECISION)
    dv_SV = tl.dot(weight_SS, dyu_SV, dv_SV, input_precision=PRECISION)
    tl.store(dv + at_SK, dv_SV.to(dv.dtype.element_ty), mask=live_S1 & (row_S < C)[:, None])

    dweight_SS = tl.dot(vu_SV, tl.trans(dyu_SV), input_precision=PRECISION)
    dweight_SS = tl.where(seeing_SS, dweight_SS, 0.0).to(OPERAND)
    dkb_SK = tl.dot(vu_SV, tl.trans(dend_KV), input_precision=PRECISION)
    at_end_K += tl.sum(kb_SK.to(tl.float32) * dkb_SK, axis=0)
    dkb_SK = tl.dot(dweight_SS, ra_SK, dkb_SK, input_precision=PRECISION) * kb_scale_SK
    tl.store(tl.where(lower_S1, db, dk) + at_SK, dkb_SK.to(dk.dtype.element_ty), mask=live_S1)
    kb_SK = tl.load(tl.where(lower_S1, b, k) + at_SK, mask=live_S1, other=0.0).to(tl.float32)
    dlog_w_CK += at_end_K[None, :] - select_sum(write_CS, kb_SK * dkb_SK, OPERAND)
    tl.store(dlog_w + at_CK, dlog_w_CK.to(dlog_w.dtype.element_ty), mask=live_C1)
