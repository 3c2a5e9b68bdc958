"""Decay, removal key and replacement key on CUDA devices: one pass in each direction, over tokens of one head.

B = batch size, T = tokens, D = hidden size, H = heads, N = head size, P = programs along the tokens.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from modrwkv_kernels.backend import LOG_DECAY_MIN
from modrwkv_kernels.fused.k_update import KEY_NORM_EPS, KUpdate, ValueResidual

__all__ = ["apply"]

_TILE = 16
_BACKWARD_TOKENS = 256


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit(do_not_specialize=["length"])
def _k_update_forward(
    k,
    v,
    decay,
    rate,
    k_k,
    k_a,
    v_first,
    logit,
    log_w,
    out_k,
    out_v,
    out_a,
    out_b,
    length,
    heads,
    log_decay_min,
    length_min,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    head = tl.program_id(0)
    channel = head * SIZE + tl.arange(0, SIZE)
    token = tl.program_id(1).to(tl.int64) * TILE + tl.arange(0, TILE)
    at = token[:, None] * (heads * SIZE) + channel[None, :]
    inside = (token < length)[:, None]
    scale = tl.load(k_k + channel).to(tl.float32)[None, :]
    share = tl.load(k_a + channel).to(tl.float32)[None, :]

    tl.store(log_w + at, log_decay_min * _sigmoid(tl.load(decay + at, mask=inside, other=0.0).to(tl.float32)), inside)
    alpha = _sigmoid(tl.load(rate + at, mask=inside, other=0.0).to(tl.float32))
    key = tl.load(k + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_k + at, key * (1.0 + (alpha - 1.0) * share), inside)
    removal = key * scale
    removal *= tl.rsqrt(tl.maximum(tl.sum(removal * removal, 1), length_min * length_min))[:, None]
    tl.store(out_a + at, -removal, inside)
    tl.store(out_b + at, removal * alpha, inside)
    if RESIDUAL:
        value = tl.load(v + at, mask=inside, other=0.0).to(tl.float32)
        other = tl.load(v_first + at, mask=inside, other=0.0).to(tl.float32)
        part = _sigmoid(tl.load(logit + at, mask=inside, other=0.0).to(tl.float32))
        tl.store(out_v + at, value + (other - value) * part, inside)


@triton.jit(do_not_specialize=["length"])
def _k_update_backward(
    dlog_w,
    dout_k,
    dout_v,
    dout_a,
    dout_b,
    k,
    v,
    decay,
    rate,
    k_k,
    k_a,
    v_first,
    logit,
    dk,
    dv,
    ddecay,
    drate,
    dv_first,
    dlogit,
    dweights,
    length,
    heads,
    log_decay_min,
    length_min,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    RESIDUAL: tl.constexpr,
):
    head = tl.program_id(0)
    width = heads * SIZE
    channel = head * SIZE + tl.arange(0, SIZE)
    scale = tl.load(k_k + channel).to(tl.float32)[None, :]
    share = tl.load(k_a + channel).to(tl.float32)[None, :]
    dscale = tl.zeros([TILE, SIZE], tl.float32)
    dshare = tl.zeros([TILE, SIZE], tl.float32)
    begin = tl.program_id(1).to(tl.int64) * TOKENS
    for start in range(0, TOKENS, TILE):
        token = begin + start + tl.arange(0, TILE)
        at = token[:, None] * width + channel[None, :]
        inside = (token < length)[:, None]

        fast = _sigmoid(tl.load(decay + at, mask=inside, other=0.0).to(tl.float32))
        slope = log_decay_min * fast * (1.0 - fast)
        tl.store(ddecay + at, slope * tl.load(dlog_w + at, mask=inside, other=0.0).to(tl.float32), inside)

        alpha = _sigmoid(tl.load(rate + at, mask=inside, other=0.0).to(tl.float32))
        key = tl.load(k + at, mask=inside, other=0.0).to(tl.float32)
        removal = key * scale
        square = tl.sum(removal * removal, 1)
        inverse = tl.rsqrt(tl.maximum(square, length_min * length_min))
        removal *= inverse[:, None]
        dreplacement = tl.load(dout_b + at, mask=inside, other=0.0).to(tl.float32)
        dremoval = dreplacement * alpha - tl.load(dout_a + at, mask=inside, other=0.0).to(tl.float32)
        # Where the length is clamped, the removal key is no longer on the sphere and may change along itself.
        along = tl.where(square >= length_min * length_min, tl.sum(dremoval * removal, 1), 0.0)
        draw = (dremoval - removal * along[:, None]) * inverse[:, None]
        dkey = tl.load(dout_k + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(dk + at, dkey * (1.0 + (alpha - 1.0) * share) + draw * scale, inside)
        dalpha = dreplacement * removal + dkey * key * share
        tl.store(drate + at, dalpha * alpha * (1.0 - alpha), inside)
        dscale += draw * key
        dshare += dkey * key * (alpha - 1.0)

        if RESIDUAL:
            value = tl.load(v + at, mask=inside, other=0.0).to(tl.float32)
            other = tl.load(v_first + at, mask=inside, other=0.0).to(tl.float32)
            part = _sigmoid(tl.load(logit + at, mask=inside, other=0.0).to(tl.float32))
            dvalue = tl.load(dout_v + at, mask=inside, other=0.0).to(tl.float32)
            tl.store(dv + at, dvalue * (1.0 - part), inside)
            tl.store(dv_first + at, dvalue * part, inside)
            tl.store(dlogit + at, dvalue * (other - value) * part * (1.0 - part), inside)

    dweights += tl.program_id(1) * 2 * width + channel
    tl.store(dweights, tl.sum(dscale, 0))
    tl.store(dweights + width, tl.sum(dshare, 0))


def _forward(
    k: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    v: Tensor | None,
    v_first: Tensor | None,
    logit: Tensor | None,
    head_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    outs = _fake_forward(k, decay, rate, k_k, k_a, v, v_first, logit, head_size)
    log_w, out_k, out_a, out_b, out_v = outs
    batch, tokens, heads, size = out_k.shape
    if k.numel():
        residual = [None if x is None else x.contiguous() for x in (v, v_first, logit)]
        with torch.cuda.device_of(k):
            _k_update_forward[(heads, triton.cdiv(batch * tokens, _TILE))](
                k.contiguous(),
                residual[0],
                decay.contiguous(),
                rate.contiguous(),
                k_k.contiguous(),
                k_a.contiguous(),
                residual[1],
                residual[2],
                log_w,
                out_k,
                out_v,
                out_a,
                out_b,
                batch * tokens,
                heads,
                LOG_DECAY_MIN,
                KEY_NORM_EPS,
                SIZE=size,
                TILE=_TILE,
                RESIDUAL=v is not None,
            )
    return outs


def _backward(
    dlog_w: Tensor,
    dout_k: Tensor,
    dout_a: Tensor,
    dout_b: Tensor,
    dout_v: Tensor | None,
    k: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    v: Tensor | None,
    v_first: Tensor | None,
    logit: Tensor | None,
    head_size: int,
) -> tuple[Tensor, ...]:
    outs = _fake_backward(
        dlog_w, dout_k, dout_a, dout_b, dout_v, k, decay, rate, k_k, k_a, v, v_first, logit, head_size
    )
    dk, ddecay, drate, _, _, dv, dv_first, dlogit = outs
    batch, tokens, width = k.shape
    programs = triton.cdiv(batch * tokens, _BACKWARD_TOKENS)
    dweights = k.new_empty(programs, 2, width, dtype=torch.float32)
    if k.numel():
        residual = [None if x is None else x.contiguous() for x in (v, v_first, logit, dout_v)]
        with torch.cuda.device_of(k):
            _k_update_backward[(width // head_size, programs)](
                dlog_w.contiguous(),
                dout_k.contiguous(),
                residual[3],
                dout_a.contiguous(),
                dout_b.contiguous(),
                k.contiguous(),
                residual[0],
                decay.contiguous(),
                rate.contiguous(),
                k_k.contiguous(),
                k_a.contiguous(),
                residual[1],
                residual[2],
                dk,
                dv,
                ddecay,
                drate,
                dv_first,
                dlogit,
                dweights,
                batch * tokens,
                width // head_size,
                LOG_DECAY_MIN,
                KEY_NORM_EPS,
                TOKENS=_BACKWARD_TOKENS,
                SIZE=head_size,
                TILE=_TILE,
                RESIDUAL=v is not None,
            )
    dk_k, dk_a = dweights.sum(0).unbind()
    return dk, ddecay, drate, dk_k.to(k_k.dtype, copy=True), dk_a.to(k_a.dtype, copy=True), dv, dv_first, dlogit


def _fake_forward(
    k: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    v: Tensor | None,
    v_first: Tensor | None,
    logit: Tensor | None,
    head_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, tokens, width = k.shape
    shape = (batch, tokens, width // head_size, head_size)
    return (
        k.new_empty(shape, dtype=torch.float32),
        k.new_empty(shape),
        k.new_empty(shape),
        k.new_empty(shape),
        k.new_empty(0) if v is None else v.new_empty(shape),
    )


def _fake_backward(
    dlog_w: Tensor,
    dout_k: Tensor,
    dout_a: Tensor,
    dout_b: Tensor,
    dout_v: Tensor | None,
    k: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    v: Tensor | None,
    v_first: Tensor | None,
    logit: Tensor | None,
    head_size: int,
) -> tuple[Tensor, ...]:
    return tuple(
        k.new_empty(0) if x is None else torch.empty_like(x, memory_format=torch.contiguous_format)
        for x in (k, decay, rate, k_k, k_a, v, v_first, logit)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.head_size = inputs
    ctx.has_residual = tensors[-1] is not None
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    *others, dout_v = gradients
    found = torch.ops.modrwkv_kernels.fused_k_update_backward(
        *others, dout_v if ctx.has_residual else None, *ctx.saved_tensors, ctx.head_size
    )
    return *found[:5], *(found[5:] if ctx.has_residual else (None, None, None)), None


_FORWARD, _BACKWARD = "modrwkv_kernels::fused_k_update", "modrwkv_kernels::fused_k_update_backward"
_INPUTS = (
    "Tensor k, Tensor decay, Tensor rate, Tensor k_k, Tensor k_a, Tensor? v, Tensor? v_first, Tensor? logit, "
    "int head_size"
)
torch.library.define(_FORWARD, f"({_INPUTS}) -> (Tensor log_w, Tensor out_k, Tensor out_a, Tensor out_b, Tensor out_v)")
torch.library.define(
    _BACKWARD,
    f"(Tensor dlog_w, Tensor dout_k, Tensor dout_a, Tensor dout_b, Tensor? dout_v, {_INPUTS}) "
    "-> (Tensor dk, Tensor ddecay, Tensor drate, Tensor dk_k, Tensor dk_a, Tensor dv, Tensor dv_first, Tensor dlogit)",
)
torch.library.impl(_FORWARD, "default", _forward)
torch.library.impl(_BACKWARD, "default", _backward)
torch.library.register_fake(_FORWARD, _fake_forward)
torch.library.register_fake(_BACKWARD, _fake_backward)
torch.library.register_autograd(_FORWARD, _differentiate, setup_context=_save)


def apply(
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    head_size: int,
    residual: ValueResidual | None,
) -> KUpdate:
    """Serve :func:`modrwkv_kernels.fused_k_update`."""
    values = (None, None, None) if residual is None else (v, *residual)
    log_w, out_k, out_a, out_b, out_v = torch.ops.modrwkv_kernels.fused_k_update(
        k, decay, rate, k_k, k_a, *values, head_size
    )
    return KUpdate(log_w, out_k, v.view_as(out_k) if residual is None else out_v, out_a, out_b)
