"""Group norm, bonus and gate on CUDA devices: one pass in each direction, over tokens of one head.

B = batch size, T = tokens, D = hidden size, H = heads, N = head size, P = programs along the tokens.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["apply"]

_TILE = 16
_BACKWARD_TOKENS = 256


@triton.jit(do_not_specialize=["length"])
def _gate_output_forward(
    y,
    r,
    k,
    v,
    gate,
    r_k,
    norm_weight,
    norm_bias,
    out,
    length,
    heads,
    eps,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
):
    channel = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    token = tl.program_id(1).to(tl.int64) * TILE + tl.arange(0, TILE)
    at = token[:, None] * (heads * SIZE) + channel[None, :]
    inside = (token < length)[:, None]
    value = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
    centred = value - (tl.sum(value, 1) / SIZE)[:, None]
    unit = centred * tl.rsqrt(tl.sum(centred * centred, 1) / SIZE + eps)[:, None]
    weight = tl.load(norm_weight + channel).to(tl.float32)[None, :]
    bias = tl.load(norm_bias + channel).to(tl.float32)[None, :]
    current = tl.load(r_k + channel).to(tl.float32)[None, :]
    receptance = tl.load(r + at, mask=inside, other=0.0).to(tl.float32)
    key = tl.load(k + at, mask=inside, other=0.0).to(tl.float32)
    bonus = tl.sum(receptance * key * current, 1)[:, None]
    read = unit * weight + bias + bonus * tl.load(v + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + at, read * tl.load(gate + at, mask=inside, other=0.0).to(tl.float32), inside)


@triton.jit(do_not_specialize=["length"])
def _gate_output_backward(
    dresult,
    y,
    r,
    k,
    v,
    gate,
    r_k,
    norm_weight,
    norm_bias,
    dy,
    dr,
    dk,
    dv,
    dgate,
    dweights,
    length,
    heads,
    eps,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
):
    width = heads * SIZE
    channel = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    weight = tl.load(norm_weight + channel).to(tl.float32)[None, :]
    bias = tl.load(norm_bias + channel).to(tl.float32)[None, :]
    current = tl.load(r_k + channel).to(tl.float32)[None, :]
    dcurrent = tl.zeros([TILE, SIZE], tl.float32)
    dweight = tl.zeros([TILE, SIZE], tl.float32)
    dbias = tl.zeros([TILE, SIZE], tl.float32)
    begin = tl.program_id(1).to(tl.int64) * TOKENS
    for start in range(0, TOKENS, TILE):
        token = begin + start + tl.arange(0, TILE)
        at = token[:, None] * width + channel[None, :]
        inside = (token < length)[:, None]
        value = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        centred = value - (tl.sum(value, 1) / SIZE)[:, None]
        rstd = tl.rsqrt(tl.sum(centred * centred, 1) / SIZE + eps)[:, None]
        unit = centred * rstd
        receptance = tl.load(r + at, mask=inside, other=0.0).to(tl.float32)
        key = tl.load(k + at, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(v + at, mask=inside, other=0.0).to(tl.float32)
        bonus = tl.sum(receptance * key * current, 1)[:, None]

        gradient = tl.load(dresult + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(dgate + at, gradient * (unit * weight + bias + bonus * value), inside)
        gradient *= tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(dv + at, gradient * bonus, inside)
        dbonus = tl.sum(gradient * value, 1)[:, None]
        tl.store(dr + at, dbonus * key * current, inside)
        tl.store(dk + at, dbonus * receptance * current, inside)
        dcurrent += dbonus * receptance * key
        dweight += gradient * unit
        dbias += gradient
        gradient *= weight
        mean = (tl.sum(gradient, 1) / SIZE)[:, None]
        along = (tl.sum(gradient * unit, 1) / SIZE)[:, None]
        tl.store(dy + at, rstd * (gradient - mean - unit * along), inside)

    dweights += tl.program_id(1) * 3 * width + channel
    tl.store(dweights, tl.sum(dcurrent, 0))
    tl.store(dweights + width, tl.sum(dweight, 0))
    tl.store(dweights + 2 * width, tl.sum(dbias, 0))


def _forward(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> Tensor:
    batch, tokens, heads, size = y.shape
    out = torch.empty_like(gate, memory_format=torch.contiguous_format)
    if y.numel():
        tensors = [x.contiguous() for x in (y, r, k, v, gate, r_k, norm_weight, norm_bias)]
        with torch.cuda.device_of(y):
            _gate_output_forward[(heads, triton.cdiv(batch * tokens, _TILE))](
                *tensors, out, batch * tokens, heads, eps, SIZE=size, TILE=_TILE
            )
    return out


def _backward(
    dresult: Tensor,
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> tuple[Tensor, ...]:
    batch, tokens, heads, size = y.shape
    programs = triton.cdiv(batch * tokens, _BACKWARD_TOKENS)
    outs = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (y, r, k, v, gate)]
    dweights = y.new_empty(programs, 3, heads * size, dtype=torch.float32)
    if y.numel():
        tensors = [x.contiguous() for x in (dresult, y, r, k, v, gate, r_k, norm_weight, norm_bias)]
        with torch.cuda.device_of(y):
            _gate_output_backward[(heads, programs)](
                *tensors,
                *outs,
                dweights,
                batch * tokens,
                heads,
                eps,
                TOKENS=_BACKWARD_TOKENS,
                SIZE=size,
                TILE=_TILE,
            )
    dr_k, dnorm_weight, dnorm_bias = dweights.sum(0).unbind()
    return (
        *outs,
        dr_k.view_as(r_k).to(r_k.dtype, copy=True),
        dnorm_weight.to(norm_weight.dtype, copy=True),
        dnorm_bias.to(norm_bias.dtype, copy=True),
    )


def _fake_forward(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> Tensor:
    return torch.empty_like(gate, memory_format=torch.contiguous_format)


def _fake_backward(dresult: Tensor, *inputs: Any) -> tuple[Tensor, ...]:
    *tensors, _ = inputs
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in tensors)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dresult: Tensor) -> tuple[Any, ...]:
    return *torch.ops.modrwkv_kernels.gate_output_backward(dresult, *ctx.saved_tensors, ctx.eps), None


_FORWARD, _BACKWARD = "modrwkv_kernels::gate_output", "modrwkv_kernels::gate_output_backward"
_INPUTS = (
    "Tensor y, Tensor r, Tensor k, Tensor v, Tensor gate, Tensor r_k, Tensor norm_weight, Tensor norm_bias, float eps"
)
torch.library.define(_FORWARD, f"({_INPUTS}) -> Tensor")
torch.library.define(
    _BACKWARD,
    f"(Tensor dresult, {_INPUTS}) -> (Tensor dy, Tensor dr, Tensor dk, Tensor dv, Tensor dgate, Tensor dr_k, "
    "Tensor dnorm_weight, Tensor dnorm_bias)",
)
torch.library.impl(_FORWARD, "default", _forward)
torch.library.impl(_BACKWARD, "default", _backward)
torch.library.register_fake(_FORWARD, _fake_forward)
torch.library.register_fake(_BACKWARD, _fake_backward)
torch.library.register_autograd(_FORWARD, _differentiate, setup_context=_save)


def apply(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> Tensor:
    """Serve :func:`modrwkv_kernels.gate_output`."""
    out: Tensor = torch.ops.modrwkv_kernels.gate_output(y, r, k, v, gate, r_k, norm_weight, norm_bias, eps)
    return out
