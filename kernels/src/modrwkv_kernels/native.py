"""Loads the compiled CPU kernels, if they were compiled.

The library is compiled when the distribution is installed, and leaves a record beside it of what it was compiled
against, or of why it was not.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch

__all__ = ["HEAD_SIZES", "load_library", "why_missing"]

HEAD_SIZES = (32, 64, 128)
"""Widths of a head that are compiled."""

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
        return f"its library cannot be loaded: {error.__cause__ or error}; reinstall modrwkv-kernels"
    return None


_missing = load_library(_NATIVE)
if _missing is not None:
    logging.getLogger("modrwkv_kernels").warning(
        "CPU kernels in plain torch serve instead of compiled ones: %s", _missing
    )


def why_missing() -> str | None:
    """Why the compiled kernels cannot be used in this process, or None when they can."""
    return _missing
