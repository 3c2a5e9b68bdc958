"""The `cpu` backend: the compiled kernels, registered as torch.library ops when their library can be loaded.

The library is compiled when the distribution is installed, and leaves a record beside it of what it was compiled
against, or of why it was not.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from modrwkv_kernels.backend import DEFAULT_CHUNK_SIZE, Backend, Inputs, Request, compute_dtype
from modrwkv_kernels.op_gradient import BACKWARD_SCHEMA, FORWARD_SCHEMA, connect, needs_gradient

__all__ = ["BACKEND", "load_library"]

_HEAD_SIZES = (32, 64, 128)

_NATIVE = Path(__file__).parent / "_native"


def _minor(version: str) -> list[str]:
    return version.split("+")[0].split(".")[:2]


def load_library(folder: Path) -> str | None:
    """Load the compiled kernels into torch.

    Args:
        folder: Where the build put the library and its record.

    Returns:
        None when the ops are there, or why they are not.
    """
    record_file = folder / "build.json"
    if not record_file.is_file():
        return "it was not compiled; install modrwkv-kernels instead of importing it from a source tree"
    record = json.loads(record_file.read_text(encoding="utf-8"))
    if record["error"] is not None:
        return f"it was not compiled when modrwkv-kernels was installed: {record['error']}"
    if _minor(record["torch"]) != _minor(torch.__version__):
        return (
            f"it was compiled for torch {record['torch']} but this is torch {torch.__version__}; "
            "reinstall modrwkv-kernels"
        )
    try:
        torch.ops.load_library(str(folder / record["library"]))  # type: ignore[no-untyped-call]
    except OSError as error:
        return f"its library cannot be loaded: {error}; reinstall modrwkv-kernels"
    return None


torch.library.define("modrwkv_kernels::wkv7_cpu", FORWARD_SCHEMA)
torch.library.define("modrwkv_kernels::wkv7_cpu_backward", BACKWARD_SCHEMA)
connect("modrwkv_kernels::wkv7_cpu", "modrwkv_kernels::wkv7_cpu_backward")
_missing = load_library(_NATIVE)


def _run(
    inputs: Inputs, state: Tensor | None, cu_seqlens: Tensor | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    y, final, _ = torch.ops.modrwkv_kernels.wkv7_cpu(
        *inputs.to(torch.float32),
        state,
        cu_seqlens,
        chunk_size or DEFAULT_CHUNK_SIZE,
        needs_gradient(inputs, state),
    )
    return y.to(inputs.r.dtype), final


def _step(token: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    y, new_state = _run(Inputs(*(x.unsqueeze(1) for x in token)), state, None, None)
    return y.squeeze(1), new_state


def _unusable(request: Request) -> str | None:
    if _missing is not None:
        return _missing
    if request.device.type != "cpu":
        return f"it takes tensors in CPU memory, not on {request.device}"
    if compute_dtype(request.dtype) != torch.float32:
        return f"it computes in float32, not {request.dtype}"
    if request.head_size not in _HEAD_SIZES:
        return f"it takes heads of {_HEAD_SIZES}, not {request.head_size}"
    return None


BACKEND = Backend("cpu", _run, _step, _unusable)
