"""Residual sum, layer norm, token shift and mixes on CUDA devices: each token is read and written once.

A program scans a range of tokens and holds one whole token in registers. The forward scan goes up and keeps the
predecessor; the reverse scan goes down and keeps what the successor's mixes send back to their predecessor.

B = batch size, T = tokens, D = hidden size, S = batch size or packed sequences, M = mixes, L = all tokens,
P = programs.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["apply"]

_FORWARD_TOKENS = 16
# Each program writes a row of sums for the gradients of the weights: no more programs than fill a large GPU.
_BACKWARD_TOKENS = 64
_BACKWARD_PROGRAMS = 528


@triton.jit
def _begin(starts, token, tokens, PACKED: tl.constexpr):
    """The sequence that begins at a token, or a negative number."""
    return tl.load(starts + token) if PACKED else tl.where(token % tokens == 0, token // tokens, -1)


@triton.jit(do_not_specialize=["length", "tokens"])
def _token_shift_forward(
    x,
    update,
    before,
    mix,
    norm_weight,
    norm_bias,
    starts,
    summed,
    statistics,
    out0,
    out1,
    out2,
    out3,
    out4,
    out5,
    length,
    tokens,
    width,
    eps,
    STRETCH: tl.constexpr,
    BLOCK: tl.constexpr,
    MIXES: tl.constexpr,
    UPDATE: tl.constexpr,
    PACKED: tl.constexpr,
):
    column = tl.arange(0, BLOCK)
    inside = column < width
    weight = tl.load(norm_weight + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(norm_bias + column, mask=inside, other=0.0).to(tl.float32)
    mix0 = tl.load(mix + column, mask=inside, other=0.0).to(tl.float32)
    if MIXES > 1:
        mix1 = tl.load(mix + width + column, mask=inside, other=0.0).to(tl.float32)
        mix2 = tl.load(mix + 2 * width + column, mask=inside, other=0.0).to(tl.float32)
        mix3 = tl.load(mix + 3 * width + column, mask=inside, other=0.0).to(tl.float32)
        mix4 = tl.load(mix + 4 * width + column, mask=inside, other=0.0).to(tl.float32)
        mix5 = tl.load(mix + 5 * width + column, mask=inside, other=0.0).to(tl.float32)
    begin = tl.program_id(0).to(tl.int64) * STRETCH
    previous = tl.zeros([BLOCK], tl.float32)
    # The first turn only computes the predecessor of the range's first token.
    for turn in range(STRETCH + 1):
        token = begin - 1 + turn
        exists = (token >= 0) & (token < length)
        writes = exists & (token >= begin)
        at = token * width + column
        value = tl.load(x + at, mask=inside & exists, other=0.0).to(tl.float32)
        if UPDATE:
            value += tl.load(update + at, mask=inside & exists, other=0.0).to(tl.float32)
            # As rounded, because that is what the backward pass will find.
            value = value.to(summed.dtype.element_ty)
            tl.store(summed + at, value, mask=inside & writes)
            value = value.to(tl.float32)
        mean = tl.sum(value) / width
        centred = tl.where(inside, value - mean, 0.0)
        rstd = tl.rsqrt(tl.sum(centred * centred) / width + eps)
        normed = centred * rstd * weight + bias
        tl.store(statistics + 2 * token, mean, mask=writes)
        tl.store(statistics + 2 * token + 1, rstd, mask=writes)

        sequence = _begin(starts, tl.where(exists, token, 0), tokens, PACKED)
        first = tl.load(before + sequence * width + column, mask=inside & (sequence >= 0), other=0.0).to(tl.float32)
        delta = tl.where(sequence >= 0, first, previous) - normed
        tl.store(out0 + at, normed + delta * mix0, mask=inside & writes)
        if MIXES > 1:
            tl.store(out1 + at, normed + delta * mix1, mask=inside & writes)
            tl.store(out2 + at, normed + delta * mix2, mask=inside & writes)
            tl.store(out3 + at, normed + delta * mix3, mask=inside & writes)
            tl.store(out4 + at, normed + delta * mix4, mask=inside & writes)
            tl.store(out5 + at, normed + delta * mix5, mask=inside & writes)
        previous = normed


@triton.jit(do_not_specialize=["length", "tokens"])
def _token_shift_backward(
    dsummed,
    dout0,
    dout1,
    dout2,
    dout3,
    dout4,
    dout5,
    x,
    before,
    mix,
    norm_weight,
    norm_bias,
    starts,
    statistics,
    dx,
    dbefore,
    dweights,
    length,
    tokens,
    width,
    STRETCH: tl.constexpr,
    BLOCK: tl.constexpr,
    MIXES: tl.constexpr,
    SUMMED: tl.constexpr,
    PACKED: tl.constexpr,
):
    column = tl.arange(0, BLOCK)
    inside = column < width
    weight = tl.load(norm_weight + column, mask=inside, other=0.0).to(tl.float32)
    bias = tl.load(norm_bias + column, mask=inside, other=0.0).to(tl.float32)
    mix0 = tl.load(mix + column, mask=inside, other=0.0).to(tl.float32)
    dweight = tl.zeros([BLOCK], tl.float32)
    dbias = tl.zeros([BLOCK], tl.float32)
    dmix0 = tl.zeros([BLOCK], tl.float32)
    if MIXES > 1:
        mix1 = tl.load(mix + width + column, mask=inside, other=0.0).to(tl.float32)
        mix2 = tl.load(mix + 2 * width + column, mask=inside, other=0.0).to(tl.float32)
        mix3 = tl.load(mix + 3 * width + column, mask=inside, other=0.0).to(tl.float32)
        mix4 = tl.load(mix + 4 * width + column, mask=inside, other=0.0).to(tl.float32)
        mix5 = tl.load(mix + 5 * width + column, mask=inside, other=0.0).to(tl.float32)
        dmix1 = tl.zeros([BLOCK], tl.float32)
        dmix2 = tl.zeros([BLOCK], tl.float32)
        dmix3 = tl.zeros([BLOCK], tl.float32)
        dmix4 = tl.zeros([BLOCK], tl.float32)
        dmix5 = tl.zeros([BLOCK], tl.float32)

    begin = tl.program_id(0).to(tl.int64) * STRETCH
    end = tl.minimum(begin + STRETCH, length)
    to_previous = tl.zeros([BLOCK], tl.float32)  # What the successor's mixes send back to this token.
    unit = tl.zeros([BLOCK], tl.float32)  # This token, normalized, before scale and bias.
    rstd = tl.full([], 0.0, tl.float32)
    # The first turn only loads the token after the range: what it sends back, and its predecessor.
    for turn in range(STRETCH + 1):
        token = end - turn
        exists = (token >= begin) & (token < length)
        owned = exists & (turn > 0)
        at = token * width + column
        sequence = _begin(starts, tl.where(exists, token, 0), tokens, PACKED)
        sequence = tl.where(exists, sequence, -1)

        has_previous = (token >= 1) & (token - 1 < length)
        mean_previous = tl.load(statistics + 2 * (token - 1), mask=has_previous, other=0.0)
        rstd_previous = tl.load(statistics + 2 * (token - 1) + 1, mask=has_previous, other=0.0)
        value = tl.load(x + at - width, mask=inside & has_previous, other=0.0).to(tl.float32)
        unit_previous = tl.where(inside, value - mean_previous, 0.0) * rstd_previous

        normed = unit * weight + bias
        first = tl.load(before + sequence * width + column, mask=inside & (sequence >= 0), other=0.0).to(tl.float32)
        delta = tl.where(sequence >= 0, first, unit_previous * weight + bias) - normed
        delta = tl.where(owned, delta, 0.0)
        dresult = tl.load(dout0 + at, mask=inside & exists, other=0.0).to(tl.float32)
        dmix0 += dresult * delta
        sent = dresult * mix0
        total = dresult
        if MIXES > 1:
            dresult = tl.load(dout1 + at, mask=inside & exists, other=0.0).to(tl.float32)
            dmix1 += dresult * delta
            sent += dresult * mix1
            total += dresult
            dresult = tl.load(dout2 + at, mask=inside & exists, other=0.0).to(tl.float32)
            dmix2 += dresult * delta
            sent += dresult * mix2
            total += dresult
            dresult = tl.load(dout3 + at, mask=inside & exists, other=0.0).to(tl.float32)
            dmix3 += dresult * delta
            sent += dresult * mix3
            total += dresult
            dresult = tl.load(dout4 + at, mask=inside & exists, other=0.0).to(tl.float32)
            dmix4 += dresult * delta
            sent += dresult * mix4
            total += dresult
            dresult = tl.load(dout5 + at, mask=inside & exists, other=0.0).to(tl.float32)
            dmix5 += dresult * delta
            sent += dresult * mix5
            total += dresult

        dnormed = tl.where(owned, total - sent + to_previous, 0.0)
        dweight += dnormed * unit
        dbias += dnormed
        dunit = dnormed * weight
        dvalue = rstd * (dunit - tl.sum(dunit) / width - unit * (tl.sum(dunit * unit) / width))
        if SUMMED:
            dvalue += tl.load(dsummed + at, mask=inside & owned, other=0.0).to(tl.float32)
        tl.store(dx + at, dvalue, mask=inside & owned)
        tl.store(dbefore + sequence * width + column, sent, mask=inside & owned & (sequence >= 0))
        to_previous = tl.where(sequence >= 0, 0.0, sent)
        unit = unit_previous
        rstd = rstd_previous

    dweights += tl.program_id(0) * (MIXES + 2) * width + column
    tl.store(dweights, dweight, mask=inside)
    tl.store(dweights + width, dbias, mask=inside)
    tl.store(dweights + 2 * width, dmix0, mask=inside)
    if MIXES > 1:
        tl.store(dweights + 3 * width, dmix1, mask=inside)
        tl.store(dweights + 4 * width, dmix2, mask=inside)
        tl.store(dweights + 5 * width, dmix3, mask=inside)
        tl.store(dweights + 6 * width, dmix4, mask=inside)
        tl.store(dweights + 7 * width, dmix5, mask=inside)


def _block(width: int) -> int:
    return int(triton.next_power_of_2(width))


def _forward(
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    update: Tensor | None,
    starts: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    batch, tokens, width = x.shape
    summed, statistics, outs = _fake_forward(x, before, mix, norm_weight, norm_bias, update, starts, eps, dtype)
    length = batch * tokens
    if length:
        x, before, mix = x.contiguous(), before.contiguous(), mix.contiguous()
        update = None if update is None else update.contiguous()
        with torch.cuda.device_of(x):
            _token_shift_forward[(triton.cdiv(length, _FORWARD_TOKENS),)](
                x,
                update,
                before,
                mix,
                norm_weight.contiguous(),
                norm_bias.contiguous(),
                starts,
                summed,
                statistics,
                *(outs * 6)[:6],
                length,
                tokens,
                width,
                eps,
                STRETCH=_FORWARD_TOKENS,
                BLOCK=_block(width),
                MIXES=len(mix),
                UPDATE=update is not None,
                PACKED=starts is not None,
                num_warps=min(16, max(1, _block(width) // 256)),
            )
    return summed, statistics, outs


def _backward(
    dsummed: Tensor | None,
    douts: list[Tensor],
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    starts: Tensor | None,
    statistics: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, tokens, width = x.shape
    length, mixes = batch * tokens, len(mix)
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    dbefore = torch.zeros_like(before, memory_format=torch.contiguous_format)
    stretch = min(_BACKWARD_TOKENS, int(triton.next_power_of_2(max(1, triton.cdiv(length, _BACKWARD_PROGRAMS)))))
    programs = triton.cdiv(length, stretch)
    dweights = x.new_empty(programs, 2 + mixes, width, dtype=torch.float32)
    if length:
        douts = [dresult.contiguous() for dresult in douts]
        with torch.cuda.device_of(x):
            _token_shift_backward[(programs,)](
                None if dsummed is None else dsummed.contiguous(),
                *(douts * 6)[:6],
                x.contiguous(),
                before.contiguous(),
                mix.contiguous(),
                norm_weight.contiguous(),
                norm_bias.contiguous(),
                starts,
                statistics,
                dx,
                dbefore,
                dweights,
                length,
                tokens,
                width,
                STRETCH=stretch,
                BLOCK=_block(width),
                MIXES=mixes,
                SUMMED=dsummed is not None,
                PACKED=starts is not None,
                num_warps=min(16, max(1, _block(width) // 128)),
            )
    dnorm_weight, dnorm_bias, *dmix = dweights.sum(0).unbind()
    return (
        dx,
        dbefore,
        torch.stack(dmix).to(mix.dtype),
        dnorm_weight.to(norm_weight.dtype, copy=True),
        dnorm_bias.to(norm_bias.dtype, copy=True),
    )


def _fake_forward(
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    update: Tensor | None,
    starts: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    summed = x.new_empty(0) if update is None else torch.empty_like(x, memory_format=torch.contiguous_format)
    statistics = x.new_empty(x.shape[0] * x.shape[1], 2, dtype=torch.float32)
    return summed, statistics, [x.new_empty(x.shape, dtype=dtype) for _ in range(mix.shape[0])]


def _fake_backward(
    dsummed: Tensor | None,
    douts: list[Tensor],
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    starts: Tensor | None,
    statistics: Tensor,
) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for tensor in (x, before, mix, norm_weight, norm_bias)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, list[Tensor]]) -> None:
    x, before, mix, norm_weight, norm_bias, update, starts, _, _ = inputs
    summed, statistics, _ = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(statistics)
    ctx.has_update = update is not None
    ctx.save_for_backward(summed if ctx.has_update else x, before, mix, norm_weight, norm_bias, starts, statistics)


def _differentiate(ctx: Any, dsummed: Tensor | None, _: None, douts: list[Tensor | None]) -> tuple[Any, ...]:
    x, *rest = ctx.saved_tensors
    given = [torch.zeros_like(x) if dresult is None else dresult for dresult in douts]
    dx, dbefore, dmix, dnorm_weight, dnorm_bias = torch.ops.modrwkv_kernels.token_shift_backward(
        dsummed if ctx.has_update else None, given, x, *rest
    )
    return dx, dbefore, dmix, dnorm_weight, dnorm_bias, dx if ctx.has_update else None, None, None, None


_FORWARD, _BACKWARD = "modrwkv_kernels::token_shift", "modrwkv_kernels::token_shift_backward"
torch.library.define(
    _FORWARD,
    "(Tensor x, Tensor before, Tensor mix, Tensor norm_weight, Tensor norm_bias, Tensor? update, Tensor? starts, "
    "float eps, ScalarType dtype) -> (Tensor summed, Tensor statistics, Tensor[] mixes)",
)
torch.library.define(
    _BACKWARD,
    "(Tensor? dsummed, Tensor[] dmixes, Tensor x, Tensor before, Tensor mix, Tensor norm_weight, Tensor norm_bias, "
    "Tensor? starts, Tensor statistics) "
    "-> (Tensor dx, Tensor dbefore, Tensor dmix, Tensor dnorm_weight, Tensor dnorm_bias)",
)
torch.library.impl(_FORWARD, "default", _forward)
torch.library.impl(_BACKWARD, "default", _backward)
torch.library.register_fake(_FORWARD, _fake_forward)
torch.library.register_fake(_BACKWARD, _fake_backward)
torch.library.register_autograd(_FORWARD, _differentiate, setup_context=_save)


def apply(
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    update: Tensor | None,
    starts: Tensor | None,
    eps: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Serve :func:`modrwkv_kernels.token_shift_mix`."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    summed, _, outs = torch.ops.modrwkv_kernels.token_shift(
        x, before, mix, norm_weight, norm_bias, update, starts, eps, dtype
    )
    return x if update is None else summed, tuple(outs)
