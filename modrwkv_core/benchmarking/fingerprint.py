"""A description of the machine and the software that a measurement was made on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["fingerprint"]


PACKAGES = (
    "torch",
    "triton",
    "modrwkv",
    "modrwkv-kernels",
    "rwkv",
    "flash-linear-attention",
    "transformers",
    "xllamacpp",
)


def fingerprint(device: str = "cpu") -> dict[str, Any]:
    """Return the machine's processor, load, versions and the commit under test, as a JSON object.

    Args:
        device: With an accelerator's name, that is described as well.
    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        **_accelerator(device),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "commit": _commit(),
    }


def _accelerator(device: str) -> dict[str, Any]:
    if device == "cpu":
        import torch

        return {"threads": torch.get_num_threads()}
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
    }


def _cpu_model() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return described.stdout.strip() or None
