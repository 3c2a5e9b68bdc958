"""Kernels that take tokens through an RWKV-7 on a GPU; :mod:`modrwkv_kernels.decode_triton` says in which order.

Names end in their dimensions: D = hidden size, O = a block of outputs, I = a block of inputs, N = head size (V values,
K keys), R = rank of a low-rank map.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

import triton
import triton.language as tl

__all__ = [
    "added_product_kernel",
    "head_kernel",
    "mix_kernel",
    "mixed_product_kernel",
    "norm_kernel",
    "normed_product_kernel",
]

LAYER_NORM_EPS = tl.constexpr(1e-5)
GROUP_NORM_EPS = tl.constexpr(64e-5)
KEY_NORM_EPS = tl.constexpr(1e-12)
LOG_DECAY_MIN = tl.constexpr(-0.6065306597126334)  # -exp(-1/2)


@triton.jit
def _await_inputs(EARLY: tl.constexpr):
    """Let the next kernel begin to read its weights, and wait until the kernels before have written the inputs."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()


@triton.jit
def _normalized(x_D, weight_D, bias_D, inside_D, D: tl.constexpr):
    """Layer norm of a vector that is zero beyond D."""
    centred_D = tl.where(inside_D, x_D - tl.sum(x_D) / D, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred_D * centred_D) / D + LAYER_NORM_EPS)
    return centred_D * scale * weight_D + bias_D


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _tanh(x):
    return 2.0 * _sigmoid(2.0 * x) - 1.0


@triton.jit
def norm_kernel(
    x,  # [batch, D]
    norm,  # [2, D]: weight, bias
    y,  # [batch, D]
    D: tl.constexpr,
    POWER_D: tl.constexpr,
):
    """Layer norm."""
    at_D = tl.arange(0, POWER_D)
    inside_D = at_D < D
    row = tl.program_id(0).to(tl.int64) * D
    weight_D = tl.load(norm + at_D, mask=inside_D, other=0.0)
    bias_D = tl.load(norm + D + at_D, mask=inside_D, other=0.0)
    x_D = tl.load(x + row + at_D, mask=inside_D, other=0.0).to(tl.float32)
    y_D = _normalized(x_D, weight_D, bias_D, inside_D, D)
    tl.store(y + row + at_D, y_D.to(y.dtype.element_ty), mask=inside_D)


@triton.jit
def normed_product_kernel(
    x,  # [D]
    norm,  # [2, D]: weight, bias
    weights,  # [outputs, D]
    y,  # [outputs]
    outputs,
    D: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    POWER_D: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Norm, multiply."""
    at_D, at_O = tl.arange(0, POWER_D), tl.program_id(0) * O + tl.arange(0, O)
    inside_D = at_D < D
    weights_OD = tl.load(
        weights + at_O[:, None].to(tl.int64) * D + at_D[None, :],
        mask=(at_O[:, None] < outputs) & inside_D[None, :],
        other=0.0,
    )
    weight_D = tl.load(norm + at_D, mask=inside_D, other=0.0)
    bias_D = tl.load(norm + D + at_D, mask=inside_D, other=0.0)
    _await_inputs(EARLY)
    x_D = tl.load(x + at_D, mask=inside_D, other=0.0)
    normed_D = _normalized(x_D, weight_D, bias_D, inside_D, D)
    tl.store(y + at_O, tl.sum(weights_OD.to(tl.float32) * normed_D[None, :], axis=1), mask=at_O < outputs)


@triton.jit
def mix_kernel(
    x,  # [batch, D]
    add,  # [batch, D], or None
    norm,  # [2, D]: weight, bias
    shift,  # [slots, D]
    slots,  # [batch]
    mixes,  # [MIXES, D]
    y,  # [MIXES, batch, D]
    batch,
    D: tl.constexpr,
    MIXES: tl.constexpr,
    POWER_D: tl.constexpr,
):
    """Add to the residual stream, norm it, mix it with the token before, and keep the norm as the next shift."""
    row = tl.program_id(0)
    at_D = tl.arange(0, POWER_D)
    inside_D = at_D < D
    weight_D = tl.load(norm + at_D, mask=inside_D, other=0.0)
    bias_D = tl.load(norm + D + at_D, mask=inside_D, other=0.0)
    x_D = tl.load(x + row * D + at_D, mask=inside_D, other=0.0)
    if add is not None:
        x_D += tl.load(add + row * D + at_D, mask=inside_D, other=0.0).to(tl.float32)
        tl.store(x + row * D + at_D, x_D, mask=inside_D)
    now_D = _normalized(x_D, weight_D, bias_D, inside_D, D)
    shift += tl.load(slots + row).to(tl.int64) * D
    before_D = tl.load(shift + at_D, mask=inside_D, other=0.0).to(tl.float32)
    tl.store(shift + at_D, now_D.to(shift.dtype.element_ty), mask=inside_D)
    for index in tl.static_range(MIXES):
        mixed_D = now_D + (before_D - now_D) * tl.load(mixes + index * D + at_D, mask=inside_D, other=0.0)
        tl.store(y + (index * batch + row) * D + at_D, mixed_D.to(y.dtype.element_ty), mask=inside_D)


@triton.jit
def mixed_product_kernel(
    x,  # [D]
    norm,  # [2, D]: weight, bias
    shift,  # [slots, D]
    slots,  # [1]
    mixes,  # [6, D], or [1, D]
    weights,  # [outputs, D]
    y,  # [outputs]
    normed,  # [D]: what the shift will be
    outputs,
    D: tl.constexpr,
    DECAY: tl.constexpr,
    RATE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    TIME: tl.constexpr,  # time mixing with its segments of weights, or channel mixing with its one
    O: tl.constexpr,  # noqa: E741
    POWER_D: tl.constexpr,
    EARLY: tl.constexpr,
):
    """Norm, mix with the token before, multiply, activate."""
    program = tl.program_id(0)
    at_D, at_O = tl.arange(0, POWER_D), program * O + tl.arange(0, O)
    inside_D = at_D < D
    weights_OD = tl.load(
        weights + at_O[:, None].to(tl.int64) * D + at_D[None, :],
        mask=(at_O[:, None] < outputs) & inside_D[None, :],
        other=0.0,
    )
    kind = 0
    if TIME:
        first = program * O - 3 * D
        low = tl.where(first < DECAY, 3, tl.where(first < DECAY + RATE, 4, 5))
        low = tl.where((first >= DECAY + RATE) & (first < DECAY + RATE + RESIDUAL), 2, low)
        kind = tl.where(first < 0, program * O // D, low)
    weight_D = tl.load(norm + at_D, mask=inside_D, other=0.0)
    bias_D = tl.load(norm + D + at_D, mask=inside_D, other=0.0)
    mix_D = tl.load(mixes + kind * D + at_D, mask=inside_D, other=0.0)
    _await_inputs(EARLY)
    x_D = tl.load(x + at_D, mask=inside_D, other=0.0)
    before_D = tl.load(shift + tl.load(slots).to(tl.int64) * D + at_D, mask=inside_D, other=0.0).to(tl.float32)
    now_D = _normalized(x_D, weight_D, bias_D, inside_D, D)
    mixed_D = now_D + (before_D - now_D) * mix_D
    if program == 0:
        tl.store(normed + at_D, now_D, mask=inside_D)
    y_O = tl.sum(weights_OD.to(tl.float32) * mixed_D[None, :], axis=1)
    if TIME:
        y_O = tl.where(kind == 3, _tanh(y_O), tl.where(kind == 5, _sigmoid(y_O), y_O))
    else:
        y_O = tl.where(y_O <= 0.0, 0.0, y_O * y_O)
    tl.store(y + at_O, y_O, mask=at_O < outputs)


@triton.jit
def added_product_kernel(
    x,  # [D]
    weights,  # [D, inputs]
    y,  # [inputs]
    normed,  # [D]
    shift,  # [slots, D]
    slots,  # [1]
    INPUTS: tl.constexpr,
    D: tl.constexpr,
    O: tl.constexpr,  # noqa: E741
    I: tl.constexpr,  # noqa: E741
    EARLY: tl.constexpr,
):
    """Add a product to the residual stream, and leave the norm before it as the shift of the next token."""
    at_O, at_I = tl.program_id(0) * O + tl.arange(0, O), tl.arange(0, I)
    inside_O = at_O < D
    at_OI = weights + at_O[:, None].to(tl.int64) * INPUTS + at_I[None, :]
    next_OI = tl.load(at_OI, mask=inside_O[:, None] & (at_I[None, :] < INPUTS), other=0.0)
    _await_inputs(EARLY)
    sum_OI = tl.zeros((O, I), dtype=tl.float32)
    for begin in tl.static_range(0, INPUTS, I):
        weights_OI = next_OI
        if begin + I < INPUTS:
            next_OI = tl.load(
                at_OI + begin + I, mask=inside_O[:, None] & (begin + I + at_I[None, :] < INPUTS), other=0.0
            )
        y_I = tl.load(y + begin + at_I, mask=begin + at_I < INPUTS, other=0.0)
        sum_OI += weights_OI.to(tl.float32) * y_I[None, :]
    x_O = tl.load(x + at_O, mask=inside_O, other=0.0) + tl.sum(sum_OI, axis=1)
    tl.store(x + at_O, x_O, mask=inside_O)
    now_O = tl.load(normed + at_O, mask=inside_O, other=0.0)
    tl.store(shift + tl.load(slots).to(tl.int64) * D + at_O, now_O.to(shift.dtype.element_ty), mask=inside_O)


@triton.jit
def _up_weights(weights, channel_N, offset, WIDTH: tl.constexpr, R: tl.constexpr, POWER_R: tl.constexpr):
    """Second half of a low-rank map for the channels of a head."""
    at_R = tl.arange(0, POWER_R)
    return tl.load(weights + channel_N[:, None] * WIDTH + offset + at_R[None, :], mask=at_R[None, :] < R, other=0.0)


@triton.jit
def _up(weights_NR, low, R: tl.constexpr, POWER_R: tl.constexpr):
    """Apply it."""
    at_R = tl.arange(0, POWER_R)
    low_R = tl.load(low + at_R, mask=at_R < R, other=0.0)
    return tl.sum(weights_NR.to(tl.float32) * low_R[None, :], axis=1)


@triton.jit
def head_kernel(
    r,  # r, k, v: [batch, D], sequences `apart` elements apart
    k,
    v,
    decay,  # [batch, D]; where UP, instead of the four: [batch, WIDTH], inputs of the maps' second halves
    rate,
    residual,
    gate,
    up,  # [D, WIDTH] where UP
    biases,  # [6, D]: decay, rate, value residual, removal key, replacement key, bonus
    group_norm,  # [2, D]
    v_first,  # [batch, D]
    states,  # [slots, heads, N, N]
    slots,  # [batch]
    y,  # [batch, D]
    apart,
    D: tl.constexpr,
    N: tl.constexpr,
    UP: tl.constexpr,
    FIRST: tl.constexpr,
    WIDTH: tl.constexpr,
    DECAY: tl.constexpr,
    RATE: tl.constexpr,
    RESIDUAL: tl.constexpr,
    GATE: tl.constexpr,
    POWER_DECAY: tl.constexpr,
    POWER_RATE: tl.constexpr,
    POWER_RESIDUAL: tl.constexpr,
    POWER_GATE: tl.constexpr,
    EARLY: tl.constexpr,
):
    """One head of one sequence: low-rank maps, recurrence, group norm, bonus, gate.

    RWKV-7 paper, arXiv 2503.14456, section 4.1.
    """
    heads: tl.constexpr = D // N
    program = tl.program_id(0)
    row, head = program // heads, program % heads
    at_N = head * N + tl.arange(0, N)
    here_N = row * D + at_N
    there_N = row * apart + at_N

    slot = tl.load(slots + row).to(tl.int64)
    at_VK = (slot * heads + head) * N * N + tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    state_VK = tl.load(states + at_VK)
    if UP:
        up_decay_NR = _up_weights(up, at_N, 0, WIDTH, DECAY, POWER_DECAY)
        up_rate_NR = _up_weights(up, at_N, DECAY, WIDTH, RATE, POWER_RATE)
        up_gate_NR = _up_weights(up, at_N, WIDTH - GATE, WIDTH, GATE, POWER_GATE)
        if not FIRST:
            up_residual_NR = _up_weights(up, at_N, DECAY + RATE, WIDTH, RESIDUAL, POWER_RESIDUAL)
    _await_inputs(EARLY)

    if UP:
        low = decay + row * WIDTH
        decay_N = _up(up_decay_NR, low, DECAY, POWER_DECAY)
        rate_N = _up(up_rate_NR, low + DECAY, RATE, POWER_RATE)
        gate_N = _up(up_gate_NR, low + WIDTH - GATE, GATE, POWER_GATE)
    else:
        decay_N = tl.load(decay + here_N).to(tl.float32)
        rate_N = tl.load(rate + here_N).to(tl.float32)
        gate_N = tl.load(gate + here_N).to(tl.float32)
    r_N = tl.load(r + there_N).to(tl.float32)
    k_N = tl.load(k + there_N).to(tl.float32)
    v_N = tl.load(v + there_N).to(tl.float32)
    if FIRST:
        tl.store(v_first + here_N, v_N)
    else:
        if UP:
            residual_N = _up(up_residual_NR, low + DECAY + RATE, RESIDUAL, POWER_RESIDUAL)
        else:
            residual_N = tl.load(residual + here_N).to(tl.float32)
        residual_N = _sigmoid(residual_N + tl.load(biases + 2 * D + at_N))
        v_N += (tl.load(v_first + here_N) - v_N) * residual_N

    w_N = tl.exp(LOG_DECAY_MIN * _sigmoid(decay_N + tl.load(biases + at_N)))
    rate_N = _sigmoid(rate_N + tl.load(biases + D + at_N))
    removal_N = k_N * tl.load(biases + 3 * D + at_N)
    removal_N = removal_N / tl.maximum(tl.sqrt(tl.sum(removal_N * removal_N)), KEY_NORM_EPS)
    k_N = k_N * (1.0 + (rate_N - 1.0) * tl.load(biases + 4 * D + at_N))

    u_V = -tl.sum(state_VK * removal_N[None, :], axis=1)
    state_VK = state_VK * w_N[None, :] + u_V[:, None] * (removal_N * rate_N)[None, :] + v_N[:, None] * k_N[None, :]
    tl.store(states + at_VK, state_VK)
    y_N = tl.sum(state_VK * r_N[None, :], axis=1)

    centred_N = y_N - tl.sum(y_N) / N
    y_N = centred_N / tl.sqrt(tl.sum(centred_N * centred_N) / N + GROUP_NORM_EPS)
    y_N = y_N * tl.load(group_norm + at_N) + tl.load(group_norm + D + at_N)
    y_N += tl.sum(r_N * k_N * tl.load(biases + 5 * D + at_N)) * v_N
    tl.store(y + here_N, (y_N * gate_N).to(y.dtype.element_ty))
