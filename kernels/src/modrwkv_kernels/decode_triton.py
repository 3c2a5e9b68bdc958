"""One token of one or many rows through a whole RWKV-7 on a GPU, in few launches that a CUDA graph can hold.

A single row needs five launches a layer, each reading its weights once: products of a matrix with one vector, with the
norm and the mixing in front and the activation behind. From Hopper on each begins to read its weights before the one in
front of it has ended. Many rows take torch's matrix products instead, with a kernel for what lies between them. Either
way states are read and written where they lie in their pool.

Names end in their dimensions: D = width, O = a block of outputs, I = a block of inputs, N = head size (V values,
K keys), R = rank of a low-rank map.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_kernels.decode_weights import DecodeLayer, DecodeWeights

__all__ = ["decode_triton"]

LAYER_NORM_EPS = tl.constexpr(1e-5)
GROUP_NORM_EPS = tl.constexpr(64e-5)
KEY_NORM_EPS = tl.constexpr(1e-12)
LOG_DECAY_MIN = tl.constexpr(-0.6065306597126334)  # -exp(-1/2)

_LAYER_TENSORS = len(DecodeLayer._fields) - 1  # all but the scales
_MIXED_PRODUCT = (4, 4)  # rows that a program of `mixed_product_kernel` takes, unless they are very wide; its warps
_ADDED_PRODUCT = (2, 2048, 4)  # rows and inputs that a program of `added_product_kernel` takes at once; its warps
_HEAD_WARPS = 8
_LN1, _LN2, _MIX, _BIASES, _LN_X, _FFN_MIX = 0, 2, 4, 10, 16, 18  # rows of DecodeLayer.vectors


@triton.jit
def _await_inputs(EARLY: tl.constexpr):
    """Let the next kernel begin to read its weights, and wait until the kernels before have written the inputs."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()


@triton.jit
def _normalised(x_D, weight_D, bias_D, inside_D, D: tl.constexpr):
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
def mix_kernel(
    x,  # [rows, D]
    add,  # [rows, D], or None
    norm,  # [2, D]: weight, bias
    shift,  # [slots, D]
    slots,  # [rows]
    mixes,  # [MIXES, D]
    y,  # [MIXES, rows, D]
    rows,
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
    now_D = _normalised(x_D, weight_D, bias_D, inside_D, D)
    shift += tl.load(slots + row).to(tl.int64) * D
    before_D = tl.load(shift + at_D, mask=inside_D, other=0.0).to(tl.float32)
    tl.store(shift + at_D, now_D.to(shift.dtype.element_ty), mask=inside_D)
    for index in tl.static_range(MIXES):
        mixed_D = now_D + (before_D - now_D) * tl.load(mixes + index * D + at_D, mask=inside_D, other=0.0)
        tl.store(y + (index * rows + row) * D + at_D, mixed_D.to(y.dtype.element_ty), mask=inside_D)


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
    now_D = _normalised(x_D, weight_D, bias_D, inside_D, D)
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
    r,  # r, k, v: [rows, D], rows `apart` elements apart
    k,
    v,
    decay,  # [rows, D]; where UP, instead of the four: [rows, WIDTH], inputs of the maps' second halves
    rate,
    residual,
    gate,
    up,  # [D, WIDTH] where UP
    biases,  # [6, D]: decay, rate, value residual, removal key, replacement key, bonus
    group_norm,  # [2, D]
    v_first,  # [rows, D]
    states,  # [slots, heads, N, N]
    slots,  # [rows]
    y,  # [rows, D]
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
    """One head of one row: low-rank maps, recurrence, group norm, bonus, gate.

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


def _early(x: Tensor, possible: bool = True) -> dict[str, bool]:
    """Launch options of a kernel that begins before the one in front of it has ended: from Hopper on."""
    early = possible and x.is_cuda and torch.cuda.get_device_capability(x.device) >= (9, 0)
    return {"EARLY": True, "launch_pdl": True} if early else {"EARLY": False}


class _Sizes(NamedTuple):
    """D, N, and the padded ranks of the four low-rank maps of a layer."""

    width: int
    head_size: int
    ranks: dict[str, int]


def decode_triton(
    weights: DecodeWeights, x: Tensor, slots: Tensor, states: Tensor, time_shift: Tensor, channel_shift: Tensor
) -> Tensor:
    """Read one token in each row and score the next; nothing is read on the host, so a CUDA graph can hold it.

    The residual stream and all that lies between the matrices is float32. One row is multiplied in float32 as well;
    several rows in the dtype of the weights.

    Args:
        weights: In float32 or half precision, with value matrices `[D, F]`.
        x: Embeddings, float32 `[rows, D]`.
        slots: Which slot of the states each row continues, int64 `[rows]`, no two the same.
        states: `[layers, slots, heads, value, key]`, float32, updated in place.
        time_shift: `[layers, slots, D]`, updated in place.
        channel_shift: `[layers, slots, D]`, updated in place.

    Returns:
        Logits, float32 `[rows, vocabulary]`.
    """
    logits: Tensor = torch.ops.modrwkv_kernels.rwkv7_decode_triton(
        x,
        slots,
        states,
        time_shift,
        channel_shift,
        weights.layer_tensors,
        weights.norms,
        weights.head,
        weights.head_size,
        weights.ranks,
    )
    return logits


def _decode(
    x: Tensor,
    slots: Tensor,
    states: Tensor,
    time_shift: Tensor,
    channel_shift: Tensor,
    layers: list[Tensor],
    norms: Tensor,
    head: Tensor,
    head_size: int,
    ranks: list[int],
) -> Tensor:
    width = x.shape[1]
    stream = F.layer_norm(x, (width,), norms[0], norms[1])
    v_first = torch.empty_like(stream)
    step = _one_row if len(x) == 1 else _many_rows
    for index in range(len(layers) // _LAYER_TENSORS):
        tensors, first = layers[index * _LAYER_TENSORS : (index + 1) * _LAYER_TENSORS], index == 0
        decay, rate, residual, gate = ranks
        named = {"DECAY": decay, "RATE": rate, "RESIDUAL": 0 if first else residual, "GATE": gate}
        pools = (states[index], time_shift[index], channel_shift[index])
        step(_Sizes(width, head_size, named), DecodeLayer._make([*tensors, ()]), first, stream, v_first, slots, *pools)
    hidden = F.layer_norm(stream, (width,), norms[2], norms[3])
    return (hidden.to(head.dtype) @ head.mT).float()


def _fake(x: Tensor, *others: Any) -> Tensor:
    head: Tensor = others[6]
    return x.new_empty(x.shape[0], head.shape[0])


_OP = "modrwkv_kernels::rwkv7_decode_triton"
torch.library.define(
    _OP,
    "(Tensor x, Tensor slots, Tensor(a!) states, Tensor(b!) time_shift, Tensor(c!) channel_shift, Tensor[] layers, "
    "Tensor norms, Tensor head, int head_size, int[] ranks) -> Tensor",
)
torch.library.impl(_OP, "default", _decode)
torch.library.register_fake(_OP, _fake)


def _heads(
    sizes: _Sizes,
    layer: DecodeLayer,
    first: bool,
    projected: tuple[Tensor, Tensor, Tensor],
    maps: tuple[Tensor, ...],
    v_first: Tensor,
    states: Tensor,
    slots: Tensor,
    y: Tensor,
) -> None:
    """Run `head_kernel`; `maps` are the four maps' outputs, or the inputs of their second halves alone."""
    ranks = sizes.ranks
    powers = {f"POWER_{name}": triton.next_power_of_2(max(rank, 1)) for name, rank in ranks.items()}
    fused = len(maps) == 1
    head_kernel[(len(y) * (sizes.width // sizes.head_size),)](
        *projected,
        *(maps * 4 if fused else maps),
        layer.up,
        layer.vectors[_BIASES],
        layer.vectors[_LN_X],
        v_first,
        states,
        slots,
        y,
        projected[0].stride(0),
        D=sizes.width,
        N=sizes.head_size,
        UP=fused,
        FIRST=first,
        WIDTH=layer.up.shape[1],
        **ranks,
        **powers,
        num_warps=_HEAD_WARPS if fused else 4,
        **_early(y, fused),
    )


def _one_row(
    sizes: _Sizes,
    layer: DecodeLayer,
    first: bool,
    x: Tensor,
    v_first: Tensor,
    slots: Tensor,
    states: Tensor,
    time_shift: Tensor,
    channel_shift: Tensor,
) -> None:
    width, ranks = sizes.width, sizes.ranks
    power = triton.next_power_of_2(width)
    early = _early(x)

    normed = torch.empty_like(x)

    def mixed(matrix: Tensor, norm: int, mix: int, shift: Tensor, *, time: bool) -> Tensor:
        y = x.new_empty(1, len(matrix))
        rows, warps = _MIXED_PRODUCT
        rows = max(1, min(rows, rows * 2048 // power))
        mixed_product_kernel[(triton.cdiv(len(matrix), rows),)](
            x,
            layer.vectors[norm],
            shift,
            slots,
            layer.vectors[mix],
            matrix,
            y,
            normed,
            len(matrix),
            D=width,
            DECAY=ranks["DECAY"],
            RATE=ranks["RATE"],
            RESIDUAL=ranks["RESIDUAL"],
            TIME=time,
            O=rows,
            POWER_D=power,
            num_warps=warps,
            **early,
        )
        return y

    def add(matrix: Tensor, y: Tensor, shift: Tensor) -> None:
        inputs = matrix.shape[1]
        rows, most, warps = _ADDED_PRODUCT
        added_product_kernel[(triton.cdiv(width, rows),)](
            x, matrix, y, normed, shift, slots, INPUTS=inputs, D=width, O=rows,
            I=min(most, triton.next_power_of_2(inputs)), num_warps=warps, **early,
        )  # fmt: skip

    projected = mixed(layer.mixed, _LN1, _MIX, time_shift, time=True)
    r, k, v, low = projected.split([width, width, width, projected.shape[1] - 3 * width], dim=1)
    gated = torch.empty_like(x)
    _heads(sizes, layer, first, (r, k, v), (low,), v_first, states, slots, gated)
    add(layer.output, gated, time_shift)
    add(layer.value, mixed(layer.key, _LN2, _FFN_MIX, channel_shift, time=False), channel_shift)


def _many_rows(
    sizes: _Sizes,
    layer: DecodeLayer,
    first: bool,
    x: Tensor,
    v_first: Tensor,
    slots: Tensor,
    states: Tensor,
    time_shift: Tensor,
    channel_shift: Tensor,
) -> None:
    rows, width = x.shape
    dtype = layer.mixed.dtype

    def mixes(add: Tensor | None, norm: int, mix: int, count: int, shift: Tensor) -> Tensor:
        y = torch.empty(count, rows, width, dtype=dtype, device=x.device)
        mix_kernel[(rows,)](
            x,
            add,
            layer.vectors[norm],
            shift,
            slots,
            layer.vectors[mix],
            y,
            rows,
            D=width,
            MIXES=count,
            POWER_D=triton.next_power_of_2(width),
            num_warps=4,
        )
        return y

    ranks = list(sizes.ranks.values())
    mixed = mixes(None, _LN1, _MIX, 6, time_shift)
    projected = torch.bmm(mixed[:3], layer.mixed[: 3 * width].view(3, width, width).mT)
    down = layer.mixed[3 * width :].split(ranks)
    decay, rate, residual, gate = (mixed[kind] @ matrix.mT for kind, matrix in zip((3, 4, 2, 5), down, strict=True))
    low = (decay.tanh(), rate, residual, gate.sigmoid())
    maps = tuple(part @ matrix.mT for part, matrix in zip(low, layer.up.split(ranks, dim=1), strict=True))
    gated = torch.empty(rows, width, dtype=dtype, device=x.device)
    r, k, v = projected
    _heads(sizes, layer, first, (r, k, v), maps, v_first, states, slots, gated)
    hidden = mixes(gated @ layer.output.mT, _LN2, _FFN_MIX, 1, channel_shift)[0] @ layer.key.mT
    x += hidden.relu().square() @ layer.value.mT
