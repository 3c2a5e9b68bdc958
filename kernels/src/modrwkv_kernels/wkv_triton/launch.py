"""Launches the kernels: how the work is cut up, with how many warps, and in which precision."""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import contextlib
import dataclasses

import torch
import triton
import triton.language as tl
from torch import Tensor

from modrwkv_kernels.backend import Inputs
from modrwkv_kernels.ragged import block_capacity
from modrwkv_kernels.wkv_triton.backward import gradient_kernel, walk_back_kernel
from modrwkv_kernels.wkv_triton.forward import inverse_kernel, walk_kernel
from modrwkv_kernels.wkv_triton.scan import scan_kernel
from modrwkv_kernels.wkv_triton.step import step_kernel

__all__ = ["TUNING", "Tuning", "backward", "forward", "step"]

# What float32 tiles are multiplied in; bfloat16 tiles are multiplied as they are. float16 cannot hold the factors of
# the chunked form, so its tiles are float32, too.
_PRECISION = {torch.bfloat16: "ieee", torch.float16: "tf32", torch.float32: "tf32x3"}
_SOLVE_PRECISION = {torch.bfloat16: "tf32", torch.float16: "tf32x3", torch.float32: "tf32x3"}


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Launch parameters.

    Args:
        values: Width of the slice of a state that one program of a walk carries.
        programs: Programs a walk should have; where sequences, heads and slices are much fewer, time is split.
        refine: Whether the receptance, in bfloat16, enters as the sum of two operands.
        inverse_warps: Warps of a program that inverts a chunk's system; so for the other kernels.
        walk_warps: Of the walk.
        walk_stages: How many chunks' inputs the walk has in flight in bfloat16; in float32 there is room for one.
        back_warps: Of the walk back.
        back_stages: The same of the walk back.
        gradient_warps: Of the gradients of a chunk.
        gradient_registers: Most registers of a thread there; None for all there are.
        step_values: Width of the slice of a state that one program of a step carries.
    """

    values: int = 64
    programs: int = 264
    refine: bool = True
    inverse_warps: int = 1
    walk_warps: int = 4
    walk_stages: int = 3
    back_warps: int = 4
    back_stages: int = 2
    gradient_warps: int = 4
    gradient_registers: int | None = None
    step_values: int = 16


TUNING = Tuning()
"""The launch parameters in use."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How the tokens are cut up.

    Args:
        batch: Sequences of the packed inputs, or rows of the dense ones.
        tokens: Of all sequences, or of each row.
        heads: Number of heads.
        size: Width of a head.
        chunk: Tokens of a chunk.
        segment: Tokens of a segment, a multiple of those of a chunk; more than all tokens when time is not split.
        values: Width of the slice of a state.
        bounds: Bounds of packed sequences.
        operand: Element type of the tiles that are multiplied.
        precision: How float32 tiles are multiplied.
    """

    batch: int
    tokens: int
    heads: int
    size: int
    chunk: int
    segment: int
    values: int
    bounds: Tensor | None
    operand: torch.dtype
    precision: str

    @classmethod
    def make(cls, r: Tensor, cu_seqlens: Tensor | None, chunk: int, tuning: Tuning) -> _Plan:
        rows, tokens, heads, size = r.shape
        batch = rows if cu_seqlens is None else len(cu_seqlens) - 1
        bounds = None if cu_seqlens is None else cu_seqlens.to(r.device, non_blocking=True).contiguous()
        values = min(tuning.values, size)
        # Splitting time costs a second walk: it must make the longest one several times shorter.
        wanted = -(-tuning.programs // (heads * (size // values)))
        segment = max(-(-rows * tokens // wanted), 4 * chunk)
        longest = tokens
        if 3 * segment > longest:
            segment = longest + 1
        operand = torch.bfloat16 if r.dtype == torch.bfloat16 else torch.float32
        segment = -(-segment // chunk) * chunk
        return cls(batch, tokens, heads, size, chunk, segment, values, bounds, operand, _PRECISION[r.dtype])

    @property
    def split(self) -> bool:
        return self.segment <= self.tokens

    def blocks(self, size: int) -> int:
        """How many numbers blocks of a size take up."""
        return block_capacity(self.tokens, self.batch, size, packed=self.bounds is not None)

    @property
    def shape(self) -> dict[str, object]:
        """Arguments that all kernels of the chunked form share."""
        return {
            "bounds": self.bounds,
            "sequences": self.batch,
            "tokens": self.tokens,
            "heads": self.heads,
            "N": self.size,
        }

    @property
    def arithmetic(self) -> dict[str, object]:
        return {"OPERAND": _TYPES[self.operand], "PRECISION": self.precision}


_TYPES = {torch.bfloat16: tl.bfloat16, torch.float32: tl.float32}


def _launch(kernel: triton.JITFunction, programs: int, /, *arguments: object, **options: object) -> None:
    if programs > 0:
        kernel[(programs,)](*arguments, **options)


def _on(x: Tensor) -> contextlib.AbstractContextManager[object]:
    elsewhere = x.is_cuda and x.device.index != torch.cuda.current_device()
    return torch.cuda.device(x.device) if elsewhere else contextlib.nullcontext()


def forward(
    inputs: Inputs,
    state: Tensor | None,
    cu_seqlens: Tensor | None,
    chunk: int,
    keep: bool,
    tuning: Tuning | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run WKV-7.

    Args:
        inputs: `[batch, tokens, heads, head size]` each.
        state: Initial state, float32 `[sequences, heads, value, key]`, or None for zeros.
        cu_seqlens: Bounds of packed sequences.
        chunk: Tokens of a chunk.
        keep: Whether to return what the backward pass needs.
        tuning: Launch parameters; None for :data:`TUNING`.

    Returns:
        Output, final state, the states at chunk starts, what the state holds in the removal directions (u, shaped like
        the output) and the inverses of the chunks' systems; without `keep` states and u are empty.
    """
    tuning = tuning or TUNING
    x = Inputs(*(tensor.contiguous() for tensor in inputs))
    plan = _Plan.make(x.r, cu_seqlens, chunk, tuning)
    heads, size, chunks, segments = plan.heads, plan.size, plan.blocks(chunk), plan.blocks(plan.segment)
    y = torch.empty_like(x.r)
    final = x.r.new_empty(plan.batch, heads, size, size, dtype=torch.float32)
    inverse = x.r.new_empty(chunks, heads, chunk, chunk, dtype=plan.operand)
    starts = x.r.new_empty(chunks if keep else 0, heads, size, size, dtype=plan.operand)
    u = torch.empty_like(x.r) if keep else x.r.new_empty(0)
    state = None if state is None else state.contiguous()
    walk_options: dict[str, object] = {
        **plan.shape,
        **plan.arithmetic,
        "segment": plan.segment,
        "C": chunk,
        "VALUES": plan.values,
        "REFINE": tuning.refine and plan.operand == torch.bfloat16,
        "STAGES": tuning.walk_stages if plan.operand == torch.bfloat16 else 1,
        "num_warps": tuning.walk_warps,
    }
    with _on(y):
        _launch(
            inverse_kernel, chunks * heads, x.log_w, x.a, x.b, inverse, **plan.shape,
            C=chunk, OPERAND=_TYPES[plan.operand], SOLVE=_SOLVE_PRECISION[x.r.dtype], num_warps=tuning.inverse_warps,
        )  # fmt: skip
        programs = segments * heads * (size // plan.values)
        if plan.split:
            operators = x.r.new_empty(segments, heads, size, 2 * size, dtype=torch.float32)
            _launch(
                walk_kernel, 2 * programs, *x, inverse, None, None, None, None, None, operators, **walk_options,
            )  # fmt: skip
            state = _connect(plan, operators, state, reverse=False)
        _launch(
            walk_kernel, programs, *x, inverse, state, y, final, starts if keep else None, u if keep else None, None,
            **walk_options,
        )  # fmt: skip
    return y, final, starts, u, inverse


def backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    inputs: Inputs,
    starts: Tensor,
    u: Tensor,
    inverse: Tensor,
    cu_seqlens: Tensor | None,
    chunk: int,
    tuning: Tuning | None = None,
) -> tuple[Inputs, Tensor]:
    """Gradients of :func:`forward`.

    Args:
        dy: Gradient of the output, or None for zeros.
        dfinal: Gradient of the final state, or None for zeros.
        inputs: As there.
        starts: The states at chunk starts that it returned.
        u: What it returned beside them.
        inverse: The inverses that it returned.
        cu_seqlens: As there.
        chunk: As there.
        tuning: Launch parameters; None for :data:`TUNING`.

    Returns:
        Gradients of the inputs and of the initial state.
    """
    tuning = tuning or TUNING
    x = Inputs(*(tensor.contiguous() for tensor in inputs))
    dy = torch.zeros_like(x.r) if dy is None else dy.contiguous()
    dfinal = None if dfinal is None else dfinal.contiguous()
    plan = _Plan.make(x.r, cu_seqlens, chunk, tuning)
    heads, size, chunks, segments = plan.heads, plan.size, plan.blocks(chunk), plan.blocks(plan.segment)
    gradients = Inputs(*(torch.empty_like(tensor) for tensor in x))
    dstate = x.r.new_empty(plan.batch, heads, size, size, dtype=torch.float32)
    dends = torch.empty_like(starts)
    du = torch.empty_like(x.r)
    back_options: dict[str, object] = {
        **plan.shape,
        **plan.arithmetic,
        "segment": plan.segment,
        "C": chunk,
        "VALUES": plan.values,
        "STAGES": tuning.back_stages if plan.operand == torch.bfloat16 else 1,
        "num_warps": tuning.back_warps,
    }
    with _on(dy):
        programs = segments * heads * (size // plan.values)
        walked = (x.r, x.log_w, x.a, x.b, dy, inverse)
        if plan.split:
            operators = x.r.new_empty(segments, heads, size, 2 * size, dtype=torch.float32)
            _launch(walk_back_kernel, 2 * programs, *walked, None, None, None, None, operators, **back_options)
            dfinal = _connect(plan, operators, dfinal, reverse=True)
        _launch(walk_back_kernel, programs, *walked, dfinal, dstate, dends, du, None, **back_options)
        _launch(
            gradient_kernel, chunks * heads, *x, dy, u, du, starts, dends, *gradients, **plan.shape,
            **plan.arithmetic, C=chunk, num_warps=tuning.gradient_warps, maxnreg=tuning.gradient_registers,
        )  # fmt: skip
    return gradients, dstate


def _connect(plan: _Plan, operators: Tensor, outer: Tensor | None, *, reverse: bool) -> Tensor:
    """The states that the segments begin with, or with `reverse` the gradients that arrive at their ends."""
    inner = operators.new_empty(operators.shape[0], plan.heads, plan.size, plan.size)
    _launch(
        scan_kernel, plan.batch * plan.heads * (plan.size // 16), operators, outer, inner, **plan.shape,
        segment=plan.segment, VALUES=16, PRECISION="tf32x3", REVERSE=reverse, num_warps=4,
    )  # fmt: skip
    return inner


def step(token: Inputs, state: Tensor, out: Tensor, slots: Tensor | None, tuning: Tuning | None = None) -> Tensor:
    """Advance states by one token.

    Args:
        token: `[batch, heads, head size]` each.
        state: Contiguous float32 `[rows, heads, value, key]`.
        out: Where the new states go; the same layout, or `state` itself.
        slots: Row of each batch item, or None when they are the same.
        tuning: Launch parameters; None for :data:`TUNING`.

    Returns:
        Output `[batch, heads, head size]`.
    """
    tuning = tuning or TUNING
    x = Inputs(*(tensor.contiguous() for tensor in token))
    batch, heads, size = x.r.shape
    y = torch.empty_like(x.r)
    with _on(y):
        _launch(
            step_kernel, batch * heads * (size // tuning.step_values), *x, state, out, slots, y,
            heads=heads, N=size, VALUES=tuning.step_values, num_warps=1,
        )  # fmt: skip
    return y
