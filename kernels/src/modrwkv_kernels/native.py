"""Loads the compiled CPU kernels, if they were compiled for the torch that runs.

The library is compiled when the distribution is installed. `build.json` beside it records what it was compiled against,
or why it was not.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

__all__ = ["HEAD_SIZES", "build_summary", "load_library", "native_unavailable_reason"]

HEAD_SIZES = (32, 64, 128)
"""Widths of a head that are compiled."""

REBUILD = (
    "with hatchling installed, reinstall modrwkv-kernels with --force-reinstall --no-deps --no-build-isolation "
    "to compile it for this torch"
)

_NATIVE = Path(__file__).parent / "_native"


def _minor(version: str) -> list[str]:
    return version.split("+")[0].split(".")[:2]


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record that the build left in a folder, or None where nothing was built."""
    file = folder / "build.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def load_library(folder: Path) -> str | None:
    """Load the compiled kernels into torch.

    Args:
        folder: Where the build put the library and its record.

    Returns:
        None when the ops are there, or why they are not.
    """
    record = read_record(folder)
    if record is None:
        return "it was not compiled; install modrwkv-kernels instead of importing it from a source tree"
    if record["error"] is not None:
        return f"it was not compiled when modrwkv-kernels was installed: {record['error']}"
    if _minor(record["torch"]) != _minor(torch.__version__):
        return f"it was compiled for torch {record['torch']} but this is torch {torch.__version__}; {REBUILD}"
    abi = torch.compiled_with_cxx11_abi()
    if record.get("cxx11_abi") != abi:
        return f"it was compiled with cxx11_abi={record.get('cxx11_abi')} but this torch has cxx11_abi={abi}; {REBUILD}"
    try:
        torch.ops.load_library(str(folder / record["library"]))  # type: ignore[no-untyped-call]
    except OSError as error:
        return f"its library cannot be loaded: {error.__cause__ or error}; {REBUILD}"
    return None


_reason = load_library(_NATIVE)
if _reason is not None:
    logging.getLogger("modrwkv_kernels").warning(
        "plain torch computes instead of the compiled CPU kernels, several times slower: %s", _reason
    )


def native_unavailable_reason() -> str | None:
    """Why the compiled kernels cannot be used in this process, or None when they can."""
    return _reason


def build_summary() -> str:
    """What the build compiled, and whether this process uses it: one line for people."""
    if _reason is not None:
        return f"unavailable: {_reason}"
    record = read_record(_NATIVE)
    assert record is not None
    sets = ", ".join(record["instruction_sets"])
    return f"{sets}; for torch {record['torch']}, {record['standard']}, {record['compiler']}"
