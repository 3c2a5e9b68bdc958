"""The non-linearity of channel mixing on CUDA devices: one pass in each direction."""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["apply"]

_BLOCK = 2048


@triton.jit
def _relu_squared_forward(x, out, elements, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    positive = tl.maximum(tl.load(x + index, mask=inside, other=0.0).to(tl.float32), 0.0)
    tl.store(out + index, positive * positive, mask=inside)


@triton.jit
def _relu_squared_backward(dresult, x, dx, elements, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    positive = tl.maximum(tl.load(x + index, mask=inside, other=0.0).to(tl.float32), 0.0)
    tl.store(dx + index, 2.0 * positive * tl.load(dresult + index, mask=inside, other=0.0).to(tl.float32), mask=inside)


def _forward(x: Tensor) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    if x.numel():
        with torch.cuda.device_of(x):
            _relu_squared_forward[(triton.cdiv(x.numel(), _BLOCK),)](x, out, x.numel(), BLOCK=_BLOCK)
    return out


def _backward(dresult: Tensor, x: Tensor) -> Tensor:
    dresult, x = dresult.contiguous(), x.contiguous()
    dx = torch.empty_like(x)
    if x.numel():
        with torch.cuda.device_of(x):
            _relu_squared_backward[(triton.cdiv(x.numel(), _BLOCK),)](dresult, x, dx, x.numel(), BLOCK=_BLOCK)
    return dx


def _save(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dresult: Tensor) -> Tensor:
    dx: Tensor = torch.ops.modrwkv_kernels.relu_squared_backward(dresult, *ctx.saved_tensors)
    return dx


_FORWARD, _BACKWARD = "modrwkv_kernels::relu_squared", "modrwkv_kernels::relu_squared_backward"
torch.library.define(_FORWARD, "(Tensor x) -> Tensor")
torch.library.define(_BACKWARD, "(Tensor dresult, Tensor x) -> Tensor")
torch.library.impl(_FORWARD, "default", _forward)
torch.library.impl(_BACKWARD, "default", _backward)
torch.library.register_fake(_FORWARD, lambda x: torch.empty_like(x, memory_format=torch.contiguous_format))
torch.library.register_fake(_BACKWARD, lambda dresult, x: torch.empty_like(x, memory_format=torch.contiguous_format))
torch.library.register_autograd(_FORWARD, _differentiate, setup_context=_save)


def apply(x: Tensor) -> Tensor:
    """Serve :func:`modrwkv_kernels.relu_squared`."""
    out: Tensor = torch.ops.modrwkv_kernels.relu_squared(x)
    return out
