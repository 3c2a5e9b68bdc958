"""What the kernels share: where sequences, their blocks and their tokens lie, and tiles scaled by the decay.

A block is a run of tokens of one sequence: a chunk, or a segment of many chunks. Blocks are numbered through all
sequences without knowing their lengths on the host: sequence i begins at number ``bounds[i] // size + i``, which leaves
it enough numbers, and a few unused ones between sequences. Without bounds all sequences are equally long, and no number
is unused. A sequence without tokens has one block without tokens.

Names end in their dimensions: C tokens of a chunk, K and V the key and value index of a head.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

__all__ = [
    "LOG2_E",
    "begin_state",
    "decay",
    "find_block",
    "first_block",
    "origin",
    "scaled",
    "select_sum",
    "span",
    "token_offsets",
]

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def span(bounds, sequence, tokens):
    """Where a sequence begins among all tokens, and its length."""
    if bounds is None:
        first = sequence.to(tl.int64) * tokens
        length = tokens + 0 * sequence
    else:
        first = tl.load(bounds + sequence).to(tl.int64)
        length = (tl.load(bounds + sequence + 1) - first).to(tl.int32)
    return first, length


@triton.jit
def first_block(bounds, sequence, tokens, size):
    """Number of a sequence's first block."""
    if bounds is None:
        number = sequence * tl.maximum(tl.cdiv(tokens, size), 1)
    else:
        number = (tl.load(bounds + sequence) // size).to(tl.int32) + sequence
    return number


@triton.jit
def find_block(bounds, number, sequences, tokens, size):
    """The sequence that a block is of, and its index there; an unused number gives an index beyond the last block."""
    low = number * 0
    if bounds is None:
        low = number // tl.maximum(tl.cdiv(tokens, size), 1)
    else:
        high = low + sequences
        while high - low > 1:
            middle = (low + high) // 2
            if first_block(bounds, middle, tokens, size) <= number:
                low = middle
            else:
                high = middle
    return low, number - first_block(bounds, low, tokens, size)


@triton.jit
def begin_state(
    outer, operators, sequence, block, steps, DIRECTION: tl.constexpr, head, at_VK, heads: tl.constexpr, N: tl.constexpr
):
    """Some rows of the state that a segment begins with: that of its sequence, taken through the segments in between.

    `block` is the first of these `steps`, and DIRECTION where the next lies.
    """
    if outer is None:
        state_VK = tl.zeros(at_VK.shape, dtype=tl.float32)
    else:
        state_VK = tl.load(outer + (sequence.to(tl.int64) * heads + head) * N * N + at_VK)
    if operators is not None:
        key_K = tl.arange(0, N)
        at_KK = (N + key_K)[:, None] * N + key_K[None, :]
        for step in range(steps):
            of_block = operators + ((block + DIRECTION * step).to(tl.int64) * heads + head) * 2 * N * N
            state_VK = tl.dot(state_VK, tl.load(of_block + at_KK), tl.load(of_block + at_VK), input_precision="tf32x3")
    return state_VK


@triton.jit
def origin(first, head, heads: tl.constexpr, size: tl.constexpr):
    """Where the elements of a head of a token lie in `[tokens, heads, head size]`."""
    return (first * heads + head) * size


@triton.jit
def token_offsets(row_C, column, heads: tl.constexpr, size: tl.constexpr):
    """Where the elements of a `[rows, columns]` tile lie, seen from its origin; 32 bits, to save registers."""
    return row_C[:, None] * (heads * size) + column[None, :]


@triton.jit
def decay(log_w, at_CK, live_C1, row_C, OPERAND: tl.constexpr):
    """What each token's decay is; as binary logarithms, what has decayed up to it and before it.

    A token beyond the end has no decay. The sums are products with triangles of ones, which need not pass from thread
    to thread as running sums do.
    """
    step_CK = tl.load(log_w + at_CK, mask=live_C1, other=0.0)
    sum_CK = LOG2_E * select_sum(row_C[:, None] >= row_C[None, :], step_CK, OPERAND)
    before_CK = LOG2_E * select_sum(row_C[:, None] > row_C[None, :], step_CK, OPERAND)
    return step_CK, sum_CK, before_CK


@triton.jit
def scaled(x, at_CK, live_C1, power_CK):
    """A tile of an input times two to a power; zeros beyond the end."""
    return tl.load(x + at_CK, mask=live_C1, other=0.0).to(tl.float32) * tl.exp2(power_CK)


@triton.jit
def select_sum(chosen_XY, x_YK, OPERAND: tl.constexpr, AGAIN: tl.constexpr = False):
    """Sums of chosen rows, as a product with ones and zeros in which float32 keeps 16 bits or more.

    With AGAIN sums of bfloat16 products that were found before are found anew, where registers are too scarce to keep
    them.
    """
    # bfloat16 heeds no precision, but the compiler takes products that name different ones for different.
    PRECISION: tl.constexpr = "ieee" if AGAIN else "tf32"
    if x_YK.dtype == tl.bfloat16:
        total_XK = tl.dot(chosen_XY.to(tl.bfloat16), x_YK, input_precision=PRECISION)
    elif tl.bfloat16 == OPERAND:
        # Cutting bits off is cheaper than rounding.
        high_YK = (x_YK.to(tl.uint32, bitcast=True) & 0xFFFF0000).to(tl.float32, bitcast=True)
        low_YK = (x_YK - high_YK).to(tl.bfloat16)
        total_XK = tl.dot(chosen_XY.to(tl.bfloat16), high_YK.to(tl.bfloat16), input_precision=PRECISION)
        total_XK = tl.dot(chosen_XY.to(tl.bfloat16), low_YK, total_XK, input_precision=PRECISION)
    else:
        total_XK = tl.dot(chosen_XY.to(tl.float32), x_YK.to(tl.float32), input_precision="tf32x3")
    return total_XK
