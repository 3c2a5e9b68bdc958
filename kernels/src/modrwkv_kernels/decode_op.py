"""One token through a whole RWKV-7 on the CPU, compiled: weights in, logits out, states updated in place."""

from __future__ import annotations

import torch
from torch import Tensor

from modrwkv_kernels.decode_weights import DecodeWeights
from modrwkv_kernels.native import HEAD_SIZES, why_missing

__all__ = ["decode_cpu", "why_no_cpu_decode"]

_OP = "modrwkv_kernels::rwkv7_decode_cpu"

torch.library.define(
    _OP,
    "(Tensor x, Tensor slots, Tensor(a!) states, Tensor(b!) time_shift, Tensor(c!) channel_shift, Tensor[] layers, "
    "Tensor[] scales, Tensor norms, Tensor head, int head_size, int[] ranks) -> Tensor",
)


def _fake(
    x: Tensor,
    slots: Tensor,
    states: Tensor,
    time_shift: Tensor,
    channel_shift: Tensor,
    layers: list[Tensor],
    scales: list[Tensor],
    norms: Tensor,
    head: Tensor,
    head_size: int,
    ranks: list[int],
) -> Tensor:
    return x.new_empty(x.shape[0], head.shape[0])


torch.library.register_fake(_OP, _fake)


def why_no_cpu_decode(head_size: int = 64) -> str | None:
    """Why :func:`decode_cpu` cannot be used, or None when it can."""
    missing = why_missing()
    if missing is not None:
        return missing
    if head_size not in HEAD_SIZES:
        return f"it takes heads of {HEAD_SIZES}, not {head_size}"
    return None


def decode_cpu(
    weights: DecodeWeights, x: Tensor, slots: Tensor, states: Tensor, time_shift: Tensor, channel_shift: Tensor
) -> Tensor:
    """Read one token in each row and score the next.

    Weights may be stored in less than float32; all arithmetic is float32. Rows of the value matrices of channel mixing
    whose activation is zero are never read.

    Args:
        weights: With transposed value matrices, on the CPU.
        x: Embeddings, float32 `[rows, D]`.
        slots: Which slot of the states each row continues, int64 `[rows]`, no two the same.
        states: `[layers, slots, heads, value, key]`, float32, updated in place.
        time_shift: `[layers, slots, D]`, float32, updated in place: the last input of each layer's time mixing.
        channel_shift: `[layers, slots, D]`, float32, updated in place: the last input of each layer's channel mixing.

    Returns:
        Logits, float32 `[rows, vocabulary]`.

    Raises:
        ValueError: A tensor has a wrong shape, element type or layout, or a slot does not exist.
    """
    scales = [scale for layer in weights.layers for scale in layer.scales]
    if weights.head_scale is not None:
        scales.append(weights.head_scale)
    logits: Tensor = torch.ops.modrwkv_kernels.rwkv7_decode_cpu(
        x,
        slots,
        states,
        time_shift,
        channel_shift,
        weights.layer_tensors,
        scales,
        weights.norms,
        weights.head,
        weights.head_size,
        weights.ranks,
    )
    return logits
