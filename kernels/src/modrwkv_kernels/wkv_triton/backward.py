"""Backward kernels: a walk back that carries the gradient of the state, then the gradients of all blocks at once.

The names are those of :mod:`modrwkv_kernels.wkv_triton.tiles`, the formulas of the walk those of
:mod:`modrwkv_kernels.wkv_triton.forward`: what a chunk does to any state, its transpose does to any gradient. With G
the gradient of its output, the gradient D of the state behind it becomes ``D + G^T R'' + (D B'^T) W``, once D is scaled
by the decay of the whole chunk.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from modrwkv_kernels.wkv_triton.tiles import (
    LOG2_E,
    begin_state,
    find_block,
    first_block,
    select_sum,
    span,
    token_offsets,
)

__all__ = ["gradient_kernel", "walk_back_kernel"]


@triton.jit(do_not_specialize=["sequences", "tokens"])
def walk_back_kernel(
    dy,
    removal,  # what `prepare_kernel` wrote
    replacement,
    reading,
    kept,
    returning,
    returned,
    dstate,  # [sequences, heads, V, K], or None for zeros
    dinitial,  # [sequences, heads, V, K]
    dends,  # [blocks, heads, V, K], each scaled by the decay of its block
    du,  # [tokens, heads, V], the gradient of what u is the solution for; or None: then `operators` are found out
    operators,  # [segments, heads, V + K, K], or None when there is one segment in each sequence
    bounds,
    sequences,
    tokens,
    segment,
    heads: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    PARTS: tl.constexpr,
    VALUES: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Walk back over the blocks of one segment with some rows of the gradient of one head's state.

    `operators` are as in the forward walk: what segments do to the gradients that arrive at their ends.
    """
    program = tl.program_id(0)
    slices: tl.constexpr = (2 * N if du is None else N) // VALUES
    share, head, number = program % slices, program // slices % heads, program // slices // heads
    sequence, index = find_block(bounds, number, sequences, tokens, segment)
    first, length = span(bounds, sequence, tokens)
    begin = index * segment
    end = tl.minimum(length, begin + segment)
    idle = (index > 0) & (begin >= length)
    if du is None:
        idle |= index == 0
    if idle:
        return
    row_C, key_K, value_V = tl.arange(0, C), tl.arange(0, N), share * VALUES + tl.arange(0, VALUES)

    at_VK = value_V[:, None] * N + key_K[None, :]
    if du is None:
        dstate_VK = tl.where(value_V[:, None] - N == key_K[None, :], 1.0, 0.0)
    else:
        behind = tl.maximum(tl.cdiv(length, segment), 1) - 1 - index
        dstate_VK = begin_state(dstate, operators, sequence, number + behind, behind, -1, head, at_VK, heads, N)

    blocks = tl.cdiv(end - begin, C * PARTS)
    base = first_block(bounds, sequence, tokens, C * PARTS) + begin // (C * PARTS)
    for step in tl.range(0, blocks, num_stages=STAGES):
        block = blocks - 1 - step
        at_block = (base + block).to(tl.int64) * heads + head
        if du is not None:
            dend_VK = dstate_VK
            for chunk in tl.static_range(PARTS):
                dend_VK *= tl.load(kept + (at_block * PARTS + chunk) * N + key_K)[None, :]
            tl.store(dends + at_block * N * N + at_VK, dend_VK.to(dends.dtype.element_ty))
        for chunk in tl.static_range(PARTS - 1, -1, -1):
            start = begin + (block * PARTS + chunk) * C
            live_C1 = (start + row_C < end)[:, None]
            at_CV = token_offsets(first + start, head, row_C, value_V, heads, N)
            at = at_block * PARTS + chunk
            tile_CK = at * C * N + row_C[:, None] * N + key_K[None, :]
            tile_CC = at * C * C + row_C[:, None] * C + row_C[None, :]
            dy_VC = tl.trans(tl.load(dy + at_CV, mask=live_C1 & (value_V < N)[None, :], other=0.0).to(OPERAND))
            removal_CK, replacement_CK = tl.load(removal + tile_CK), tl.load(replacement + tile_CK)
            reading_CK, kept_K = tl.load(reading + tile_CK), tl.load(kept + at * N + key_K)

            dstate_VK *= kept_K[None, :]
            high_VK = dstate_VK.to(OPERAND)
            x_VC = tl.dot(high_VK, tl.trans(replacement_CK), input_precision=PRECISION)
            if du is not None:
                returning_CK, returned_CC = tl.load(returning + tile_CK), tl.load(returned + tile_CC)
                du_VC = tl.dot(high_VK, tl.trans(returning_CK), input_precision=PRECISION)
                du_VC = tl.dot(dy_VC, returned_CC, du_VC, input_precision=PRECISION)
                tl.store(du + at_CV, tl.trans(du_VC).to(du.dtype.element_ty), mask=live_C1)
            dstate_VK = tl.dot(dy_VC, reading_CK, dstate_VK, input_precision=PRECISION)
            dstate_VK = tl.dot(x_VC.to(OPERAND), removal_CK, dstate_VK, input_precision=PRECISION)

    if du is None:
        tl.store(operators + (number.to(tl.int64) * heads + head) * 2 * N * N + at_VK, dstate_VK)
    elif index == 0:
        tl.store(dinitial + (sequence.to(tl.int64) * heads + head) * N * N + at_VK, dstate_VK)


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
    starts,  # [blocks, heads, V, K]
    dends,  # [blocks, heads, V, K]
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
    """Gradients of the inputs of one block of C tokens and one head.

    Tiles that enter alike are stacked, S = 2C rows: what reads the state (r over a, with dy over du) and what is
    written to it (k over b, with v over u). So each product is one of full height. What is needed transposed or scaled
    once more is made twice: that is cheaper than to move or to keep it.

    A token's decay scales what is read from there on of all that was written before. So its gradient is a sum over the
    reads behind it, less what these owe to the writes behind it, plus what the end owes to the writes before it.
    """
    program = tl.program_id(0)
    block, head = program // heads, program % heads
    sequence, index = find_block(bounds, block, sequences, tokens, C)
    first, length = span(bounds, sequence, tokens)
    if index * C >= length:
        return
    row_C, row_S, key_K = tl.arange(0, C), tl.arange(0, 2 * C), tl.arange(0, N)
    token_S, lower_S1 = row_S % C, (row_S >= C)[:, None]
    live_C1, live_S1 = (index * C + row_C < length)[:, None], (index * C + token_S < length)[:, None]
    at_CK = token_offsets(first + index * C, head, row_C, key_K, heads, N)
    at_SK = token_offsets(first + index * C, head, token_S, key_K, heads, N)
    at_VK = (block.to(tl.int64) * heads + head) * N * N + key_K[:, None] * N + key_K[None, :]
    # A token reads after its own decay and its writes with r, but before them with a.
    last_S = tl.where(row_S >= C, token_S - 1, token_S)

    decay_CK = tl.load(log_w + at_CK, mask=live_C1, other=0.0)
    kb_SK = tl.load(tl.where(lower_S1, b, k) + at_SK, mask=live_S1, other=0.0)
    ra_SK = tl.load(tl.where(lower_S1, a, r) + at_SK, mask=live_S1, other=0.0)
    dyu_SV = tl.load(tl.where(lower_S1, du, dy) + at_SK, mask=live_S1, other=0.0).to(OPERAND)
    vu_SV = tl.load(tl.where(lower_S1, u, v) + at_SK, mask=live_S1, other=0.0).to(OPERAND)
    start_VK = tl.load(starts + at_VK).to(OPERAND)
    dend_VK = tl.load(dends + at_VK).to(OPERAND)
    through_VK = (start_VK.to(tl.float32) * dend_VK.to(tl.float32)).to(OPERAND)
    dlog_w_CK = tl.dot(tl.full([C, N], 1.0, OPERAND), through_VK, input_precision=PRECISION)

    scale_SK = tl.exp2(-LOG2_E * select_sum(token_S[:, None] >= row_C[None, :], decay_CK, OPERAND))
    kb_SK = (kb_SK.to(tl.float32) * scale_SK).to(OPERAND)

    dweight_SS = tl.dot(dyu_SV, tl.trans(vu_SV), input_precision=PRECISION)
    dweight_SS = tl.where(last_S[:, None] >= token_S[None, :], dweight_SS, 0.0).to(OPERAND)
    dra_SK = tl.dot(dyu_SV, start_VK, input_precision=PRECISION)
    dra_SK = tl.dot(dweight_SS, kb_SK, dra_SK, input_precision=PRECISION)
    scale_SK = tl.exp2(LOG2_E * select_sum(last_S[:, None] >= row_C[None, :], decay_CK, OPERAND))
    ra_SK = (ra_SK.to(tl.float32) * scale_SK).to(OPERAND)
    read_SK = (ra_SK.to(tl.float32) * dra_SK).to(OPERAND)
    reads_CS = (row_C[:, None] <= last_S[None, :]).to(OPERAND)
    dlog_w_CK = tl.dot(reads_CS, read_SK, dlog_w_CK, input_precision=PRECISION)
    tl.store(tl.where(lower_S1, da, dr) + at_SK, (dra_SK * scale_SK).to(dr.dtype.element_ty), mask=live_S1)

    weight_SS = tl.dot(kb_SK, tl.trans(ra_SK), input_precision=PRECISION)
    seen_SS = (token_S[:, None] - last_S[None, :] <= 0) & (row_S < C)[:, None]
    weight_SS = tl.where(seen_SS, weight_SS, 0.0).to(OPERAND)
    dv_SV = tl.dot(kb_SK, tl.trans(dend_VK), input_precision=PRECISION)
    dv_SV = tl.dot(weight_SS, dyu_SV, dv_SV, input_precision=PRECISION)
    tl.store(dv + at_SK, dv_SV.to(dv.dtype.element_ty), mask=live_S1 & (row_S < C)[:, None])

    dweight_SS = tl.dot(vu_SV, tl.trans(dyu_SV), input_precision=PRECISION)
    dweight_SS = tl.where(last_S[None, :] - token_S[:, None] >= 0, dweight_SS, 0.0).to(OPERAND)
    dkb_SK = tl.dot(dweight_SS, ra_SK, input_precision=PRECISION)
    written_SK = (-kb_SK.to(tl.float32) * dkb_SK).to(OPERAND)
    from_CS = (row_C[:, None] <= token_S[None, :]).to(OPERAND)
    dlog_w_CK = tl.dot(from_CS, written_SK, dlog_w_CK, input_precision=PRECISION)
    dend_SK = tl.dot(vu_SV, dend_VK, input_precision=PRECISION)
    written_SK = (kb_SK.to(tl.float32) * dend_SK).to(OPERAND)
    before_CS = (row_C[:, None] > token_S[None, :]).to(OPERAND)
    dlog_w_CK = tl.dot(before_CS, written_SK, dlog_w_CK, input_precision=PRECISION)
    tl.store(dlog_w + at_CK, dlog_w_CK.to(dlog_w.dtype.element_ty), mask=live_C1)
    # The same scale as above, written otherwise: what is equal would be kept, in registers that are scarce.
    scale_SK = tl.exp2(-LOG2_E * select_sum(token_S[:, None] - row_C[None, :] > -1, decay_CK, OPERAND))
    dkb_SK = (dkb_SK + dend_SK) * scale_SK
    tl.store(tl.where(lower_S1, db, dk) + at_SK, dkb_SK.to(dk.dtype.element_ty), mask=live_S1)
