"""The built-in logger: metrics as JSON Lines in the run's folder. A lifecycle plugin like any other."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modrwkv_core.errors import WriteError
from modrwkv_core.storage.files import append_line, sync

__all__ = ["METRICS", "append_metrics", "metrics_size", "read_metrics", "truncate_metrics"]

METRICS = "metrics.jsonl"


def append_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Add one line of metrics.

    Raises:
        WriteError: The disk is full, or the folder is missing.
    """
    append_line(run / METRICS, json.dumps({"step": step, **metrics}))


def read_metrics(run: Path) -> list[dict[str, float | str]]:
    """Return all lines of metrics; none if the run has not logged any. Damaged lines are left out, with a warning."""
    path = run / METRICS
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    parsed = [_parse(line) for line in lines if line.strip()]
    intact = [line for line in parsed if line is not None]
    if len(intact) < len(parsed):
        warnings.warn(f"{path}: {len(parsed) - len(intact)} damaged lines are left out", stacklevel=2)
    return intact


def _parse(line: bytes) -> dict[str, float | str] | None:
    """Return the metrics of a line; None if it does not hold any."""
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not _is_number(content.get("step")):
        return None
    return content if all(_is_number(value) or isinstance(value, str) for value in content.values()) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def metrics_size(run: Path) -> int:
    """Return the size of the metrics in bytes, once they are on the disk."""
    path = run / METRICS
    if not path.exists():
        return 0
    sync(path)
    return path.stat().st_size


def truncate_metrics(run: Path, size: int) -> None:
    """Drop what was logged after the first ``size`` bytes: a resumed run takes those steps again.

    Raises:
        WriteError: The file cannot be written.
    """
    path = run / METRICS
    if path.exists() and path.stat().st_size > size:
        try:
            os.truncate(path, size)
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror}", hint="check the file's permissions") from error
