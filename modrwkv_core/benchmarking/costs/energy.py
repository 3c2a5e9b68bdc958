"""Energy of calls on a GPU, by the counter that its driver keeps."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any, Final

import torch

__all__ = ["EnergyMeter", "MissingCounterError"]

_SECONDS: Final = 0.5
"""How long a call is repeated: the counter moves in steps of some tens of milliseconds."""


class MissingCounterError(Exception):
    """Nothing tells of the energy; the message says why."""


class EnergyMeter:
    """Reads NVML's counter of the energy that a GPU took, everything on it included.

    Args:
        device: The GPU.

    Raises:
        MissingCounterError: It is a CPU, NVML's Python bindings are not installed, or the GPU has no counter.
    """

    def __init__(self, device: str) -> None:
        if device == "cpu":
            raise MissingCounterError("a CPU has no counter that is read here")
        try:
            self._nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            raise MissingCounterError("not installed; pip install nvidia-ml-py") from None
        self._device = device
        try:
            self._nvml.nvmlInit()
            uuid = torch.cuda.get_device_properties(device).uuid
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self._joules()
        except self._nvml.NVMLError as error:
            raise MissingCounterError(f"NVML says: {error}") from error

    def _joules(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3  # it counts millijoules

    def measure(self, run: Callable[[], object]) -> float:
        """Repeat a call for half a second at least and return the joules of one."""
        torch.cuda.synchronize(self._device)
        before, end, calls = self._joules(), time.perf_counter() + _SECONDS, 0
        while calls == 0 or time.perf_counter() < end:
            run()
            torch.cuda.synchronize(self._device)
            calls += 1
        return (self._joules() - before) / calls
