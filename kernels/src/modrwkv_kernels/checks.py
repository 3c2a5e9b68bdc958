"""Validation of arguments: a ValueError that names the argument, before any kernel runs."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from modrwkv_kernels.backend import CHUNK_SIZES, LOG_DECAY_MIN, Inputs, compute_dtype

__all__ = ["check_call", "check_token"]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Half-precision rounding may carry a decay at the bound beyond it by this share.
_ROUNDING = 0.01


def _shape(x: Tensor) -> str:
    return str(list(x.shape))


def check_call(
    inputs: Inputs, state: Tensor | None, cu_seqlens: Tensor | None = None, chunk_size: int | None = None
) -> None:
    """Check everything that can be checked without waiting for an accelerator.

    Values (the range of the decay, the bounds in `cu_seqlens`) are looked at where they lie in CPU memory, and not
    while a graph is being traced.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value.
    """
    _check_inputs(inputs, "[batch, tokens, heads, head size]")
    batch, tokens, heads, size = inputs.r.shape
    sequences = batch
    if cu_seqlens is not None:
        _check_cu_seqlens(cu_seqlens, inputs.r)
        sequences = len(cu_seqlens) - 1
    if state is not None:
        _check_state(state, inputs.r, [sequences, heads, size, size])
    if chunk_size is not None and chunk_size not in CHUNK_SIZES:
        raise ValueError(f"chunk_size must be one of {CHUNK_SIZES}, not {chunk_size}")
    if not torch.compiler.is_compiling():
        _check_decay(inputs.log_w)
        if cu_seqlens is not None and cu_seqlens.device.type == "cpu":
            _check_bounds(cu_seqlens, tokens)


def check_token(inputs: Inputs, state: Tensor, out: Tensor | None = None, slots: Tensor | None = None) -> None:
    """Check the arguments of a single step, `[batch, heads, head size]`.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value.
    """
    _check_inputs(inputs, "[batch, heads, head size]")
    batch, heads, size = inputs.r.shape
    rows = batch if slots is None or state.dim() == 0 else len(state)
    _check_state(state, inputs.r, [rows, heads, size, size])
    if out is not None:
        _check_out(out, state, inputs)
    if slots is not None:
        _check_slots(slots, out, state, inputs.r)
    if not torch.compiler.is_compiling():
        _check_decay(inputs.log_w)


def _check_out(out: Tensor, state: Tensor, inputs: Inputs) -> None:
    if out.shape != state.shape or out.dtype != state.dtype or out.device != state.device:
        raise ValueError(
            f"out is {out.dtype} {_shape(out)} on {out.device} but state is {state.dtype} {_shape(state)} on "
            f"{state.device}; they must be alike"
        )
    for name, x in (("out", out), ("state", state)):
        if not x.is_contiguous():
            raise ValueError(f"{name} must be contiguous where out is given, but has strides {list(x.stride())}")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (*inputs, state, out)):
        raise ValueError("out has no gradient: call it under torch.no_grad(), or leave out away")


def _check_slots(slots: Tensor, out: Tensor | None, state: Tensor, r: Tensor) -> None:
    if out is None:
        raise ValueError("slots needs out: the pool that the new states go to, which may be state itself")
    if slots.shape != r.shape[:1]:
        raise ValueError(f"slots is {_shape(slots)} but r is {_shape(r)}; it needs one row for each item of the batch")
    if slots.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"slots must be int32 or int64, not {slots.dtype}")
    if slots.device != r.device:
        raise ValueError(f"slots is on {slots.device} but r is on {r.device}")
    if slots.device.type == "cpu" and not torch.compiler.is_compiling():
        rows = slots.tolist()
        if len(set(rows)) < len(rows):
            raise ValueError(f"slots must be all different, but is {rows}")
        if rows and not 0 <= min(rows) <= max(rows) < len(state):
            raise ValueError(f"slots must lie in the {len(state)} rows of state, but is {rows}")


def _check_inputs(inputs: Inputs, layout: str) -> None:
    r = inputs.r
    if r.dim() != len(layout.split(",")) or 0 in r.shape[-2:]:
        raise ValueError(f"r must be {layout}, not {_shape(r)}")
    if r.dtype not in _DTYPES:
        raise ValueError(f"r must be float16, bfloat16, float32 or float64, not {r.dtype}")
    for name, x in zip(Inputs._fields, inputs, strict=True):
        if x.shape != r.shape:
            raise ValueError(f"{name} is {_shape(x)} but r is {_shape(r)}; all six inputs have one shape")
        if x.device != r.device:
            raise ValueError(f"{name} is on {x.device} but r is on {r.device}")
        if name == "log_w":
            if x.dtype not in (r.dtype, compute_dtype(r.dtype)):
                raise ValueError(f"log_w is {x.dtype} but r is {r.dtype}; it takes that or {compute_dtype(r.dtype)}")
        elif x.dtype != r.dtype:
            raise ValueError(f"{name} is {x.dtype} but r is {r.dtype}")


def _check_state(state: Tensor, r: Tensor, expected: list[int]) -> None:
    if list(state.shape) != expected:
        raise ValueError(
            f"state is {_shape(state)} but r is {_shape(r)}; it needs [sequences, heads, value, key] = {expected}"
        )
    if state.dtype != compute_dtype(r.dtype):
        raise ValueError(f"state is {state.dtype} but for inputs of {r.dtype} it must be {compute_dtype(r.dtype)}")
    if state.device != r.device:
        raise ValueError(f"state is on {state.device} but r is on {r.device}")


def _check_cu_seqlens(cu_seqlens: Tensor, r: Tensor) -> None:
    if r.shape[0] != 1:
        raise ValueError(f"with cu_seqlens the inputs are packed, [1, tokens, heads, head size], but r is {_shape(r)}")
    if cu_seqlens.dim() != 1 or len(cu_seqlens) == 0:
        raise ValueError(f"cu_seqlens must be [sequences + 1], not {_shape(cu_seqlens)}")
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"cu_seqlens must be int32 or int64, not {cu_seqlens.dtype}")
    if cu_seqlens.device not in (r.device, torch.device("cpu")):
        raise ValueError(f"cu_seqlens is on {cu_seqlens.device} but r is on {r.device}")


def _check_bounds(cu_seqlens: Tensor, tokens: int) -> None:
    bounds = cu_seqlens.tolist()
    if bounds[0] != 0 or bounds[-1] != tokens:
        raise ValueError(
            f"cu_seqlens must run from 0 to the {tokens} tokens of r, but runs from {bounds[0]} to {bounds[-1]}"
        )
    for index, (start, end) in enumerate(itertools.pairwise(bounds)):
        if end < start:
            raise ValueError(f"cu_seqlens must not decrease, but cu_seqlens[{index + 1}] = {end} follows {start}")


def _check_decay(log_w: Tensor) -> None:
    if log_w.device.type != "cpu" or log_w.numel() == 0:
        return
    low, high = (float(x) for x in torch.aminmax(log_w.detach()))
    # NaN passes, as everywhere in torch: a training loop sees it in its loss and can say which step it came from.
    if low < LOG_DECAY_MIN * (1 + _ROUNDING) or high > 0:
        raise ValueError(
            f"log_w must lie in [{LOG_DECAY_MIN:.4f}, 0], the natural logarithm of RWKV-7's decay, "
            f"but spans [{low:.4g}, {high:.4g}]"
        )
