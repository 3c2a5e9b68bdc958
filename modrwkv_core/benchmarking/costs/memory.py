"""How much memory a call needs on top of what is there: of the process, or of a GPU."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import torch

__all__ = ["bounded_memory", "is_out_of_memory", "peak_growth"]

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")
_RESET_PEAK: Final = "5"  # see proc(5)
_SPARE: Final = 2**28  # bytes left to the rest of the machine

Result = TypeVar("Result")


def peak_growth(run: Callable[[], Result], device: str) -> tuple[Result, int]:
    """Call ``run`` and return its result and by how many bytes the memory grew at the highest.

    On the CPU that is resident memory: what was freed before the call is given back to the system first. On a GPU it is
    what torch allocated.
    """
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = run()
        torch.cuda.synchronize(device)
        return result, torch.cuda.max_memory_allocated(device) - before
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    _CLEAR.write_text(_RESET_PEAK)
    resident = _status("VmRSS")
    result = run()
    return result, max(0, _status("VmHWM") - resident)


@contextmanager
def bounded_memory(device: str) -> Iterator[None]:
    """Let torch refuse memory on the CPU that the machine does not have, before the system ends the process for it."""
    if device != "cpu":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _status("VmData") + max(0, available_memory() - _SPARE)
    limits = [limit, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def available_memory() -> int:
    """Return the bytes that the machine, or the container that the process runs in, has left."""
    left = _field(_MEMINFO, "MemAvailable")
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.exists() and used.exists() and (text := limit.read_text().strip()).isdecimal():
        left = min(left, int(text) - int(used.read_text()))
    return left


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what a component's error comes from, says that memory was refused."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Torch has no class of its own for that on the CPU.
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def _status(name: str) -> int:
    return _field(_STATUS, name)


def _field(path: Path, name: str) -> int:
    """Return a field of a file of the kernel, in bytes."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{path} has no field {name}")
