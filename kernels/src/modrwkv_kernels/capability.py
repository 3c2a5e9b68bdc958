"""What this machine has: the compiled library, units of the processor, Triton, CUDA devices.

Every function returns why something cannot be used, or None when it can.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os

import torch

from modrwkv_kernels.native import native_unavailable_reason

__all__ = ["HAS_TRITON", "amx_unavailable_reason", "native_unavailable_reason", "triton_unavailable_reason"]

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton's interpreter runs its kernels, on tensors in CPU memory."""

CAPABILITY = (8, 0)
"""The first generation of GPUs with bfloat16 matrix units, Ampere."""

NO_TRITON = "triton is not installed; install it with `pip install triton` (torch for CUDA on Linux brings it)"


def _find_amx() -> str | None:
    reason = native_unavailable_reason()
    if reason is None and not torch.ops.modrwkv_kernels.amx_usable():
        return "this processor has no AMX units that this process may use"
    return reason


# Found once, at import: a compiler that traces cannot ask the processor.
_amx_reason = _find_amx()


def amx_unavailable_reason() -> str | None:
    """Why the matrix units of the processor (AMX) cannot be used."""
    return _amx_reason


def triton_unavailable_reason(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on tensors of a device."""
    if not HAS_TRITON:
        if device.type == "cuda" and not torch.compiler.is_compiling():
            _warn_once()
        return NO_TRITON
    if INTERPRETED:
        return None
    if device.type != "cuda":
        return f"it takes tensors on a CUDA device, not on {device}"
    # A compiler that traces cannot ask the device.
    return None if torch.compiler.is_compiling() else _device_unavailable_reason(device)


@functools.cache
def _device_unavailable_reason(device: torch.device) -> str | None:
    if torch.version.cuda is None or not torch.cuda.is_available():
        return "torch finds no CUDA device"
    found = torch.cuda.get_device_capability(device)
    if found < CAPABILITY:
        return f"it needs compute capability {CAPABILITY[0]}.{CAPABILITY[1]}, and {device} has {found[0]}.{found[1]}"
    return None


@functools.cache
def _warn_once() -> None:
    logging.getLogger("modrwkv_kernels").warning(
        "plain torch computes on the CUDA device instead of Triton kernels, several times slower: %s", NO_TRITON
    )
