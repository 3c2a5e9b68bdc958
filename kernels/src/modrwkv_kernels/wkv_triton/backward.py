"""Backward kernels: a reverse scan that carries the gradient of the state, then the gradients of all blocks at once.

The names are those of :mod:`modrwkv_kernels.wkv_triton.tiles`, the formulas of the scan those of
:mod:`modrwkv_kernels.wkv_triton.forward`: what a chunk does to any state, its transpose does to any gradient. With G
the gradient of its output, the gradient D of the state after it becomes ``D + G^T R'' + (D B'^T) W``, once D is scaled
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
    origin,
    select_sum,
    span,
    token_offsets,
)

__all__ = ["gradient_kernel", "reverse_scan_kernel"]


@triton.jit(do_not_specialize=["sequences", "tokens"])
def reverse_scan_kernel(
    dy,
    removal,  # what `prepare_kernel` wrote
    replacement,
    reading,
    chunk_decay,
    returning,
    returned,
    dstate,  # [sequences, heads, V, K], or None for zeros
    dinitial,  # [sequences, heads, V, K]
    dends,  # [blocks, heads, V, K], each scaled by the decay of its block
    du,  # [tokens, heads, V], the gradient of what u is the solution for; or None: then `operators` are computed
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
    """Scan the blocks in reverse order: those of one segment with some rows of the gradient of one head's state.

    `operators` are as in the forward scan: what segments do to the gradients that arrive at their ends.
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
        after = tl.maximum(tl.cdiv(length, segment), 1) - 1 - index
        dstate_VK = begin_state(dstate, operators, sequence, number + after, after, -1, head, at_VK, heads, N)

    blocks = tl.cdiv(end - begin, C * PARTS)
    base = first_block(bounds, sequence, tokens, C * PARTS) + begin // (C * PARTS)
    for step in tl.range(0, blocks, num_stages=STAGES):
        block = blocks - 1 - step
        at_block = (base + block).to(tl.int64) * heads + head
        if du is not None:
            dend_VK = dstate_VK
            for chunk in tl.static_range(PARTS):
                dend_VK *= tl.load(chunk_decay + (at_block * PARTS + chunk) * N + key_K)[None, :]
            tl.store(dends + at_block * N * N + at_VK, dend_VK.to(dends.dtype.element_ty))
        for chunk in tl.static_range(PARTS - 1, -1, -1):
            start = begin + (block * PARTS + chunk) * C
            live_C1 = (start + row_C < end)[:, None]
            here, at_CV = origin(first + start, head, heads, N), token_offsets(row_C, value_V, heads, N)
            at = at_block * PARTS + chunk
            tile_CK = at * C * N + row_C[:, None] * N + key_K[None, :]
            tile_CC = at * C * C + row_C[:, None] * C + row_C[None, :]
            dy_VC = tl.trans(tl.load(dy + here + at_CV, mask=live_C1 & (value_V < N)[None, :], other=0.0).to(OPERAND))
            removal_CK, replacement_CK = tl.load(removal + tile_CK), tl.load(replacement + tile_CK)
            reading_CK, chunk_decay_K = tl.load(reading + tile_CK), tl.load(chunk_decay + at * N + key_K)

            dstate_VK *= chunk_decay_K[None, :]
            high_VK = dstate_VK.to(OPERAND)
            x_VC = tl.dot(high_VK, tl.trans(replacement_CK), input_precision=PRECISION)
            if du is not None:
                returning_CK, returned_CC = tl.load(returning + tile_CK), tl.load(returned + tile_CC)
                du_VC = tl.dot(high_VK, tl.trans(returning_CK), input_precision=PRECISION)
                du_VC = tl.dot(dy_VC, returned_CC, du_VC, input_precision=PRECISION)
                tl.store(du + here + at_CV, tl.trans(du_VC).to(du.dtype.element_ty), mask=live_C1)
            dstate_VK = tl.dot(dy_VC, reading_CK, dstate_VK, input_precision=PRECISION)
            dstate_VK = tl.dot(x_VC.to(OPERAND), removal_CK, dstate_VK, input_precision=PRECISION)

    if du is None:
        tl.store(operators + (number.to(tl.int64) * heads + head) * 2 * N * N + at_VK, dstate_VK)
    elif index == 0:
        tl.store(dinitial + (sequence.to(tl.int64) * heads + head) * N * N + at_VK, dstate_VK)


@triton.jit
def _stream(pointers, live):
    """Load what no other program loads, past the cache of the multiprocessor; zeros where nothing lives."""
    if live is None:
        x = tl.load(pointers, cache_modifier=".cg")
    else:
        x = tl.load(pointers, mask=live, other=0.0, cache_modifier=".cg")
    return x


@triton.jit
def _put(pointers, x, live):
    """Store what is not soon loaded again."""
    tl.store(pointers, x.to(pointers.dtype.element_ty), mask=live, cache_modifier=".cs")


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
    chunk_states,  # [blocks, heads, V, K]
    dends,  # [blocks, heads, V, K]
    sums,  # [4, 2 C^2]: what `running_sums` of :mod:`modrwkv_kernels.wkv_triton.plan` gives
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

    A token's decay scales what is read from there on of all that was written before. So its gradient is what the whole
    block owes to its end, plus a sum over the reads from there on, less one over all that the writes from there on are
    owed.
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
    here, state = origin(first + index * C, head, heads, N), (block.to(tl.int64) * heads + head) * N * N
    at_CK, at_SK = here + token_offsets(row_C, key_K, heads, N), token_offsets(token_S, key_K, heads, N)
    at_VK = key_K[:, None] * N + key_K[None, :]
    at_SC, at_CS = row_S[:, None] * C + row_C[None, :], row_C[:, None] * 2 * C + row_S[None, :]
    # A token reads after its own decay and its writes with r, but before them with a.
    last_S = tl.where(row_S >= C, token_S - 1, token_S)

    decay_CK = _stream(log_w + at_CK, live_C1)
    kb_SK = _stream(tl.where(lower_S1, b + here, k + here) + at_SK, live_S1)
    ra_SK = _stream(tl.where(lower_S1, a + here, r + here) + at_SK, live_S1)
    dyu_SV = _stream(tl.where(lower_S1, du + here, dy + here) + at_SK, live_S1).to(OPERAND)
    vu_SV = _stream(tl.where(lower_S1, u + here, v + here) + at_SK, live_S1).to(OPERAND)
    start_VK = _stream(chunk_states + state + at_VK, None).to(OPERAND)
    dend_VK = _stream(dends + state + at_VK, None).to(OPERAND)
    # Behind the others, because they come from the cache, and registers for what is on its way are scarce.
    written_SC, read_SC = tl.load(sums + at_SC), tl.load(sums + 2 * C * C + at_SC)
    through_VK = (start_VK.to(tl.float32) * dend_VK.to(tl.float32)).to(OPERAND)
    dlog_w_CK = tl.dot(tl.full([C, N], 1.0, OPERAND), through_VK, input_precision=PRECISION)

    scale_SK = tl.exp2(-LOG2_E * select_sum(written_SC, decay_CK, OPERAND))
    kb_SK = (kb_SK.to(tl.float32) * scale_SK).to(OPERAND)

    dweight_SS = tl.dot(dyu_SV, tl.trans(vu_SV), input_precision=PRECISION)
    dweight_SS = tl.where(last_S[:, None] >= token_S[None, :], dweight_SS, 0.0).to(OPERAND)
    dra_SK = tl.dot(dyu_SV, start_VK, input_precision=PRECISION)
    dra_SK = tl.dot(dweight_SS, kb_SK, dra_SK, input_precision=PRECISION)
    scale_SK = tl.exp2(LOG2_E * select_sum(read_SC, decay_CK, OPERAND))
    ra_SK = (ra_SK.to(tl.float32) * scale_SK).to(OPERAND)
    product_SK = (ra_SK.to(tl.float32) * dra_SK).to(OPERAND)
    read_CS = tl.load(sums + 6 * C * C + at_CS)
    dlog_w_CK = tl.dot(read_CS, product_SK, dlog_w_CK, input_precision=PRECISION)
    _put(tl.where(lower_S1, da + here, dr + here) + at_SK, dra_SK * scale_SK, live_S1)

    weight_SS = tl.dot(kb_SK, tl.trans(ra_SK), input_precision=PRECISION)
    seen_SS = (token_S[:, None] - last_S[None, :] <= 0) & (row_S < C)[:, None]
    weight_SS = tl.where(seen_SS, weight_SS, 0.0).to(OPERAND)
    dv_SV = tl.dot(kb_SK, tl.trans(dend_VK), input_precision=PRECISION)
    dv_SV = tl.dot(weight_SS, dyu_SV, dv_SV, input_precision=PRECISION)
    _put(dv + here + at_SK, dv_SV, live_S1 & (row_S < C)[:, None])

    dweight_SS = tl.dot(vu_SV, tl.trans(dyu_SV), input_precision=PRECISION)
    dweight_SS = tl.where(last_S[None, :] - token_S[:, None] >= 0, dweight_SS, 0.0).to(OPERAND)
    dkb_SK = tl.dot(vu_SV, dend_VK, input_precision=PRECISION)
    product_SK = (kb_SK.to(tl.float32) * dkb_SK).to(OPERAND)
    dlog_w_CK = tl.dot(tl.full([C, 2 * C], 1.0, OPERAND), product_SK, dlog_w_CK, input_precision=PRECISION)
    dkb_SK = tl.dot(dweight_SS, ra_SK, dkb_SK, input_precision=PRECISION)
    product_SK = (-kb_SK.to(tl.float32) * dkb_SK).to(OPERAND)
    written_CS = tl.load(sums + 4 * C * C + at_CS)
    dlog_w_CK = tl.dot(written_CS, product_SK, dlog_w_CK, input_precision=PRECISION)
    _put(dlog_w + at_CK, dlog_w_CK, live_C1)
    scale_SK = tl.exp2(-LOG2_E * select_sum(written_SC, decay_CK, OPERAND, AGAIN=True))
    _put(tl.where(lower_S1, db + here, dk + here) + at_SK, dkb_SK * scale_SK, live_S1)
