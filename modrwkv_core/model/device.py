"""Where to compute."""

from __future__ import annotations

import torch

from modrwkv_core.errors import ModRWKVError

__all__ = ["choose_device"]


def choose_device(name: str | None) -> str:
    """Return ``name`` if this machine has such a device; None chooses a GPU if torch sees one, else the CPU.

    Raises:
        ModRWKVError: There is no such device here, torch knows none of that name, or it does not compute, as ``meta``.
    """
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # the device "meta" holds no values
    # Torch raises an AssertionError where it was built without CUDA.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        count = torch.cuda.device_count()
        there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
        raise ModRWKVError(
            f"device {name!r} cannot be used: {str(error).partition(chr(10))[0]}", hint=f"this machine has {there}"
        ) from error
    return name
