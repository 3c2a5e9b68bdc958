"""One token of each sequence through a whole RWKV-7 on a GPU, in few launches that a CUDA graph can capture.

A single sequence needs five launches a layer and one for the logits, each loading its weights once: products of a
matrix with one vector, with the norm and the mixing before and the activation after. From Hopper on each starts to load
its weights before the previous one ends. Several sequences take torch's matrix products instead, with kernels for what
is between them. Either way states are updated in place in their pool.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from modrwkv_kernels.decode_kernels import (
    added_product_kernel,
    head_kernel,
    mix_kernel,
    mixed_product_kernel,
    norm_kernel,
    normed_product_kernel,
)
from modrwkv_kernels.decode_weights import DecodeLayer, DecodeWeights

__all__ = ["decode_triton"]

_LAYER_TENSORS = len(DecodeLayer._fields) - 1  # all but the scales
# Rows of the matrix that a program of a normed product takes, unless they are very wide, and its warps.
_NORMED_PRODUCT = (8, 4)
# Rows and inputs that a program of an added product takes at once, and its warps, of square and wide matrices.
_SQUARE_PRODUCT, _WIDE_PRODUCT = (2, 2048, 2), (4, 1024, 2)
_HEAD_WARPS = 8
_LN1, _LN2, _MIX, _BIASES, _LN_X, _FFN_MIX = 0, 2, 4, 10, 16, 18  # rows of DecodeLayer.vectors


def _early(x: Tensor, possible: bool = True) -> dict[str, bool]:
    """Launch options of a kernel that starts before the previous one ends: from Hopper on."""
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
    """Decode one token of each sequence; nothing is copied to the host, so a CUDA graph can capture it.

    The residual stream and all that lies between the matrices is float32. A single sequence is multiplied in float32,
    too; several in the dtype of the weights.

    Args:
        weights: In float32 or bfloat16, with value matrices `[D, F]`.
        x: Embeddings, `[batch, D]`.
        slots: Slot of the states that each sequence continues, int64 `[batch]`, all different.
        states: `[layers, slots, heads, value, key]`, float32, updated in place.
        time_shift: `[layers, slots, D]`, updated in place.
        channel_shift: `[layers, slots, D]`, updated in place.

    Returns:
        Logits, float32 `[batch, vocabulary]`.
    """
    with torch.cuda.device_of(x):
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
    batch, width = x.shape
    stream = x.new_empty(batch, width, dtype=torch.float32)
    v_first = torch.empty_like(stream)
    _norm(x, norms[:2], stream)
    step = _one_sequence if batch == 1 else _many_sequences
    for index in range(len(layers) // _LAYER_TENSORS):
        tensors, first = layers[index * _LAYER_TENSORS : (index + 1) * _LAYER_TENSORS], index == 0
        decay, rate, residual, gate = ranks
        named = {"DECAY": decay, "RATE": rate, "RESIDUAL": 0 if first else residual, "GATE": gate}
        pools = (states[index], time_shift[index], channel_shift[index])
        step(_Sizes(width, head_size, named), DecodeLayer._make([*tensors, ()]), first, stream, v_first, slots, *pools)
    if batch == 1:
        return _normed_product(stream, norms[2:], head)
    hidden = torch.empty_like(stream, dtype=head.dtype)
    _norm(stream, norms[2:], hidden)
    return (hidden @ head.mT).float()


def _norm(x: Tensor, norm: Tensor, y: Tensor) -> None:
    batch, width = x.shape
    norm_kernel[(batch,)](x, norm, y, D=width, POWER_D=triton.next_power_of_2(width), num_warps=4)


def _normed_rows(width: int) -> tuple[int, int]:
    """Rows and warps of a program of a normed product."""
    rows, warps = _NORMED_PRODUCT
    return max(1, min(rows, rows * 2048 // triton.next_power_of_2(width))), warps


def _normed_product(x: Tensor, norm: Tensor, matrix: Tensor) -> Tensor:
    outputs, width = matrix.shape
    y = x.new_empty(1, outputs)
    power = triton.next_power_of_2(width)
    rows, warps = _normed_rows(width)
    normed_product_kernel[(triton.cdiv(outputs, rows),)](
        x, norm, matrix, y, outputs, D=width, O=rows, POWER_D=power, num_warps=warps, **_early(x)
    )
    return y


def _fake(x: Tensor, *others: Any) -> Tensor:
    head: Tensor = others[6]
    return x.new_empty(x.shape[0], head.shape[0], dtype=torch.float32)


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


def _one_sequence(
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
        rows, warps = _normed_rows(width)
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
        rows, most, warps = _SQUARE_PRODUCT if inputs == width else _WIDE_PRODUCT
        added_product_kernel[(triton.cdiv(width, rows),)](
            x, matrix, y, normed, shift, slots, INPUTS=inputs, D=width, O=rows,
            I=min(most, triton.next_power_of_2(inputs)), num_warps=warps, **early,
        )  # fmt: skip

    projected = mixed(layer.mixed, _LN1, _MIX, time_shift, time=True)
    r, k, v, low = projected.split([width, width, width, projected.shape[1] - 3 * width], dim=1)
    gated = torch.empty_like(x)
    _heads(sizes, layer, first, (r, k, v), (low,), v_first, states, slots, gated)
    add(layer.output, gated, time_shift)
    hidden = mixed(layer.key, _LN2, _FFN_MIX, channel_shift, time=False)
    add(layer.value, hidden, channel_shift)


def _many_sequences(
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
    batch, width = x.shape
    dtype = layer.mixed.dtype

    def mixes(add: Tensor | None, norm: int, mix: int, count: int, shift: Tensor) -> Tensor:
        y = torch.empty(count, batch, width, dtype=dtype, device=x.device)
        mix_kernel[(batch,)](
            x,
            add,
            layer.vectors[norm],
            shift,
            slots,
            layer.vectors[mix],
            y,
            batch,
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
    gated = torch.empty(batch, width, dtype=dtype, device=x.device)
    r, k, v = projected
    _heads(sizes, layer, first, (r, k, v), maps, v_first, states, slots, gated)
    hidden = mixes(gated @ layer.output.mT, _LN2, _FFN_MIX, 1, channel_shift)[0] @ layer.key.mT
    x += hidden.relu().square() @ layer.value.mT
