"""Validation of arguments: a ValueError that names the argument, raised before any kernel runs."""

from __future__ import annotations

import torch
from torch import Tensor

from modrwkv_kernels.backend import CHUNK_SIZES, LOG_DECAY_MIN, Inputs, compute_dtype
from modrwkv_kernels.cu_seqlens import CuSeqlens

__all__ = ["check_call", "check_token"]

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Half-precision rounding may carry a decay at the bound beyond it by this share.
_ROUNDING = 0.01


def _shape(x: Tensor) -> str:
    return str(list(x.shape))


def check_call(
    inputs: Inputs, state: Tensor | None, cu_seqlens: CuSeqlens | None = None, chunk_size: int | None = None
) -> None:
    """Check everything that can be checked without waiting for an accelerator.

    The range of the decay is checked in CPU memory only, and not while a compiler traces.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value.
    """
    _check_inputs(inputs, "[batch, tokens, heads, head size]")
    sequences, _, heads, size = inputs.r.shape
    if cu_seqlens is not None:
        _check_cu_seqlens(cu_seqlens, inputs.r)
        sequences = cu_seqlens.sequences
    if state is not None:
        _check_state(state, inputs.r, [sequences, heads, size, size])
    if chunk_size is not None and chunk_size not in CHUNK_SIZES:
        raise ValueError(f"chunk_size must be one of {CHUNK_SIZES}, not {chunk_size}")
    if not torch.compiler.is_compiling():
        _check_decay(inputs.log_w)


def check_token(inputs: Inputs, state: Tensor, out: Tensor | None = None, slots: Tensor | None = None) -> None:
    """Check the arguments of a single step, `[batch, heads, head size]`.

    Raises:
        ValueError: An argument has a wrong shape, element type, device or value.
    """
    _check_inputs(inputs, "[batch, heads, head size]")
    batch, heads, size = inputs.r.shape
    count = batch if slots is None or state.dim() == 0 else len(state)
    _check_state(state, inputs.r, [count, heads, size, size])
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
        raise ValueError("out has no gradient: call it under torch.no_grad(), or omit out")


def _check_slots(slots: Tensor, out: Tensor | None, state: Tensor, r: Tensor) -> None:
    if out is None:
        raise ValueError("slots needs out: the pool that the new states go to, which may be state itself")
    if slots.shape != r.shape[:1]:
        raise ValueError(f"slots is {_shape(slots)} but r is {_shape(r)}; it needs one slot for each item of the batch")
    if slots.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"slots must be int32 or int64, not {slots.dtype}")
    if slots.device != r.device:
        raise ValueError(f"slots is on {slots.device} but r is on {r.device}")
    if slots.device.type == "cpu" and not torch.compiler.is_compiling():
        values = slots.tolist()
        if len(set(values)) < len(values):
            raise ValueError(f"slots must be all different, but is {values}")
        if values and not 0 <= min(values) <= max(values) < len(state):
            raise ValueError(f"slots must be from 0 to {len(state) - 1}, the slots of state, but is {values}")


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


def _check_cu_seqlens(cu_seqlens: CuSeqlens, r: Tensor) -> None:
    if r.shape[0] != 1:
        raise ValueError(f"with cu_seqlens the inputs are packed, [1, tokens, heads, head size], but r is {_shape(r)}")
    if cu_seqlens.tokens != r.shape[1]:
        raise ValueError(
            f"cu_seqlens must run from 0 to the {r.shape[1]} tokens of r, but runs from 0 to {cu_seqlens.tokens}"
        )
    if cu_seqlens.device.device != r.device:
        raise ValueError(
            f"cu_seqlens is on {cu_seqlens.device.device} but r is on {r.device}; move it once per batch with `to`"
        )


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
