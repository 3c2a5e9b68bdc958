"""One token through a whole RWKV-7 on the CPU, compiled: weights in, logits out, states updated in place."""

from __future__ import annotations

import torch
from torch import Tensor

from modrwkv_kernels.decode_weights import DecodeWeights

__all__ = ["decode_cpu"]

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


def decode_cpu(
    weights: DecodeWeights, x: Tensor, slots: Tensor, states: Tensor, time_shift: Tensor, channel_shift: Tensor
) -> Tensor:
    """Decode one token of each sequence in the batch.

    Weights may be stored in less than float32; all arithmetic is float32. Rows of the value matrices of channel mixing
    whose activation is zero are never read.

    Args:
        weights: With transposed value matrices, on the CPU.
        x: Embeddings, float32 `[batch, D]`.
        slots: Slot of the states that each sequence continues, int64 `[batch]`, all different.
        states: `[layers, slots, heads, value, key]`, float32, updated in place.
        time_shift: `[layers, slots, D]`, float32, updated in place: the last input of each layer's time mixing.
        channel_shift: `[layers, slots, D]`, float32, updated in place: the last input of each layer's channel mixing.

    Returns:
        Logits, float32 `[batch, vocabulary]`.

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
