"""Forward kernels: what all chunks do to any state, for all at once; then a scan over them that carries the state.

The names are those of :mod:`modrwkv_kernels.wkv_triton.tiles`. With the formulas of :mod:`modrwkv_kernels.chunked`,
``T`` the inverse of ``I - [A B']`` and ``E = T [A K']``, a chunk with values V takes the state S to
``(S + V^T K'' + (S W^T) B') diag(decay)`` and gives out ``R'' S^T + D V``, where

    W = T A      K'' = K' + E^T B'      R'' = R + [R B'] W      D = [R K'] + [R B'] E

So the chunk scan, the only sequential part, needs only five small products a chunk.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

from modrwkv_kernels.wkv_triton.tiles import (
    LOG2_E,
    begin_state,
    decay,
    find_block,
    first_block,
    origin,
    scaled,
    span,
    token_offsets,
)

__all__ = ["chunk_scan_kernel", "prepare_kernel"]


@triton.jit(do_not_specialize=["sequences", "tokens"])
def prepare_kernel(
    r,
    log_w,
    k,
    a,
    b,
    removal,  # [chunks, C, K]: W
    replacement,  # [chunks, C, K]: B'
    reading,  # [chunks, C, K]: R''
    writing,  # [chunks, C, K]: K''
    direct,  # [chunks, C, C]: D
    chunk_decay,  # [chunks, K]: how much of the state is left after the chunk
    entering,  # [chunks, C, C]: E, for the backward pass; or None
    returning,  # [chunks, C, K]: T^T B', the same
    returned,  # [chunks, C, C]: [R B'] T, the same
    bounds,
    sequences,
    tokens,
    total,
    heads: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    PARTS: tl.constexpr,
    OPERAND: tl.constexpr,
    SOLVE: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Find what each of `total` chunks does to any state and values; a block of tokens has PARTS of them.

    The inverse of a diagonal block of 2 rows is known; pairs of blocks are merged by ``T + T L T`` with L below the
    diagonal, until one is left. Tiles are rounded to operands only at the end: where keys are similar, T amplifies
    earlier roundings. They are computed in the order that needs the fewest registers.
    """
    row_C, key_K = tl.arange(0, C), tl.arange(0, N)
    up_to_CC, before_CC = row_C[:, None] >= row_C[None, :], row_C[:, None] > row_C[None, :]
    # Many chunks a program, so that the inputs of the next are on their way.
    for step in tl.range(0, tl.cdiv(total - tl.program_id(0), tl.num_programs(0)), num_stages=STAGES):
        program = tl.program_id(0) + step * tl.num_programs(0)
        part, head, block = program % PARTS, program // PARTS % heads, program // PARTS // heads
        sequence, index = find_block(bounds, block, sequences, tokens, C * PARTS)
        first, length = span(bounds, sequence, tokens)
        start = (index * PARTS + part) * C
        live_C1 = (start + row_C < length)[:, None]
        # Of 64 bits, unlike in the other kernels: the assembler orders the instructions better.
        at_CK = origin(first + start, head, heads, N) + token_offsets(row_C, key_K, heads, N)

        step_CK, sum_CK, before_CK = decay(log_w, at_CK, live_C1, row_C, OPERAND)
        a_CK = scaled(a, at_CK, live_C1, before_CK)
        r_CK = scaled(r, at_CK, live_C1, sum_CK)
        k_CK = scaled(k, at_CK, live_C1, -sum_CK)
        b_CK = scaled(b, at_CK, live_C1, -sum_CK)

        at = program.to(tl.int64)
        tile_CK = at * C * N + row_C[:, None] * N + key_K[None, :]
        tile_CC = at * C * C + row_C[:, None] * C + row_C[None, :]
        tl.store(replacement + tile_CK, b_CK.to(replacement.dtype.element_ty))
        tl.store(chunk_decay + at * N + key_K, tl.exp2(LOG2_E * tl.sum(step_CK.to(tl.float32), axis=0)))
        rk_CC = tl.where(up_to_CC, tl.dot(r_CK, tl.trans(k_CK), input_precision=SOLVE), 0.0)
        ak_CC = tl.where(before_CC, tl.dot(a_CK, tl.trans(k_CK), input_precision=SOLVE), 0.0)
        rb_CC = tl.where(up_to_CC, tl.dot(r_CK, tl.trans(b_CK), input_precision=SOLVE), 0.0)

        low_CC = tl.where(before_CC, tl.dot(a_CK, tl.trans(b_CK), input_precision=SOLVE), 0.0)
        inverse_CC = tl.where(row_C[:, None] // 2 == row_C[None, :] // 2, low_CC, 0.0)
        inverse_CC += tl.where(row_C[:, None] == row_C[None, :], 1.0, 0.0)
        for level in tl.static_range(2, 5):
            if (1 << level) <= C:
                pair_CC = (row_C[:, None] >> level) == (row_C[None, :] >> level)
                across_CC = (row_C[:, None] >> (level - 1)) != (row_C[None, :] >> (level - 1))
                merge_CC = tl.dot(inverse_CC, tl.where(pair_CC & across_CC, low_CC, 0.0), input_precision=SOLVE)
                inverse_CC = tl.dot(merge_CC, inverse_CC, inverse_CC, input_precision=SOLVE)

        removal_CK = tl.dot(inverse_CC, a_CK, input_precision=SOLVE)
        tl.store(removal + tile_CK, removal_CK.to(removal.dtype.element_ty))
        reading_CK = tl.dot(rb_CC, removal_CK, r_CK, input_precision=SOLVE)
        tl.store(reading + tile_CK, reading_CK.to(reading.dtype.element_ty))
        entering_CC = tl.dot(inverse_CC, ak_CC, input_precision=SOLVE)
        direct_CC = tl.dot(rb_CC, entering_CC, rk_CC, input_precision=SOLVE)
        tl.store(direct + tile_CC, direct_CC.to(direct.dtype.element_ty))
        if entering is not None:
            tl.store(entering + tile_CC, entering_CC.to(entering.dtype.element_ty))
            returned_CC = tl.dot(rb_CC, inverse_CC, input_precision=SOLVE)
            tl.store(returned + tile_CC, returned_CC.to(returned.dtype.element_ty))
        writing_CK = tl.dot(tl.trans(entering_CC), b_CK, k_CK, input_precision=SOLVE)
        tl.store(writing + tile_CK, writing_CK.to(writing.dtype.element_ty))
        if entering is not None:
            returning_CK = tl.dot(tl.trans(inverse_CC), b_CK, input_precision=SOLVE)
            tl.store(returning + tile_CK, returning_CK.to(returning.dtype.element_ty))


@triton.jit(do_not_specialize=["sequences", "tokens"])
def chunk_scan_kernel(
    v,
    removal,  # what `prepare_kernel` wrote
    replacement,
    reading,
    writing,
    direct,
    entering,
    chunk_decay,
    state,  # [sequences, heads, V, K], or None for zeros
    y,  # or None: then only `operators` are computed
    final,  # [sequences, heads, V, K]
    chunk_states,  # [blocks, heads, V, K], or None when they are not saved
    u,  # [tokens, heads, V], or None when it is not saved
    operators,  # [segments, heads, V + K, K]: what segments do to states; or None when there is one in each sequence
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
    """Scan the blocks of one segment with some rows of one head's state.

    Each warp has 16 rows, which never meet those of others: what it multiplies stays in its registers.

    A segment maps S to ``S M + F``: F is what becomes of a state of zeros, and M what becomes of the unit vectors when
    no values come in. A first scan finds both for all segments at once, so that a second one knows where each
    begins.
    """
    program = tl.program_id(0)
    slices: tl.constexpr = (2 * N if y is None else N) // VALUES
    share, head, number = program % slices, program // slices % heads, program // slices // heads
    sequence, index = find_block(bounds, number, sequences, tokens, segment)
    first, length = span(bounds, sequence, tokens)
    begin = index * segment
    end = tl.minimum(length, begin + segment)
    idle = (index > 0) & (begin >= length)
    if y is None:
        idle |= end == length
    if idle:
        return
    row_C, key_K, value_V = tl.arange(0, C), tl.arange(0, N), share * VALUES + tl.arange(0, VALUES)

    at_VK = value_V[:, None] * N + key_K[None, :]
    if y is None:
        state_VK = tl.where(value_V[:, None] - N == key_K[None, :], 1.0, 0.0)
    else:
        state_VK = begin_state(state, operators, sequence, number - index, index, 1, head, at_VK, heads, N)

    base = first_block(bounds, sequence, tokens, C * PARTS) + begin // (C * PARTS)
    for block in tl.range(0, tl.cdiv(end - begin, C * PARTS), num_stages=STAGES):
        at_block = (base + block).to(tl.int64) * heads + head
        if chunk_states is not None:
            tl.store(chunk_states + at_block * N * N + at_VK, state_VK.to(chunk_states.dtype.element_ty))
        for chunk in tl.static_range(PARTS):
            start = begin + (block * PARTS + chunk) * C
            live_C1 = (start + row_C < end)[:, None]
            here, at_CV = origin(first + start, head, heads, N), token_offsets(row_C, value_V, heads, N)
            at = at_block * PARTS + chunk
            tile_CK = at * C * N + row_C[:, None] * N + key_K[None, :]
            tile_CC = at * C * C + row_C[:, None] * C + row_C[None, :]
            v_VC = tl.trans(tl.load(v + here + at_CV, mask=live_C1 & (value_V < N)[None, :], other=0.0).to(OPERAND))
            removal_CK, replacement_CK = tl.load(removal + tile_CK), tl.load(replacement + tile_CK)
            writing_CK, chunk_decay_K = tl.load(writing + tile_CK), tl.load(chunk_decay + at * N + key_K)

            high_VK = state_VK.to(OPERAND)
            x_VC = tl.dot(high_VK, tl.trans(removal_CK), input_precision=PRECISION)
            if y is not None:
                reading_CK, direct_CC = tl.load(reading + tile_CK), tl.load(direct + tile_CC)
                y_VC = tl.dot(high_VK, tl.trans(reading_CK), input_precision=PRECISION)
                if tl.bfloat16 == OPERAND:
                    # The rounding of the state would be a large part of the output's error.
                    low_VK = (state_VK - high_VK.to(tl.float32)).to(OPERAND)
                    y_VC = tl.dot(low_VK, tl.trans(reading_CK), y_VC, input_precision=PRECISION)
                y_VC = tl.dot(v_VC, tl.trans(direct_CC), y_VC, input_precision=PRECISION)
                tl.store(y + here + at_CV, tl.trans(y_VC).to(y.dtype.element_ty), mask=live_C1)
                if u is not None:
                    entering_CC = tl.load(entering + tile_CC)
                    u_VC = tl.dot(v_VC, tl.trans(entering_CC), x_VC, input_precision=PRECISION)
                    tl.store(u + here + at_CV, tl.trans(u_VC).to(u.dtype.element_ty), mask=live_C1)
            state_VK = tl.dot(v_VC, writing_CK, state_VK, input_precision=PRECISION)
            state_VK = tl.dot(x_VC.to(OPERAND), replacement_CK, state_VK, input_precision=PRECISION)
            state_VK *= chunk_decay_K[None, :]

    if y is None:
        tl.store(operators + (number.to(tl.int64) * heads + head) * 2 * N * N + at_VK, state_VK)
    elif end == length:
        tl.store(final + (sequence.to(tl.int64) * heads + head) * N * N + at_VK, state_VK)
