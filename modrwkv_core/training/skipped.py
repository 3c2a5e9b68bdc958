"""Which broken records a run left out, and why: ``skipped.jsonl`` in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from modrwkv_core.data.loading import SkippedRecord
from modrwkv_core.errors import CheckpointError
from modrwkv_core.storage.files import write_text

__all__ = ["MAX_NAMED", "SKIPPED", "SkippedLine", "append_skipped", "drop_skipped_after", "read_skipped"]

SKIPPED: Final = "skipped.jsonl"

MAX_NAMED: Final = 1000
"""Records that are named; more are only counted, in the metrics."""


class SkippedLine(BaseModel):
    """One record that was left out.

    Attributes:
        step: The run's step after which it was noted.
        phase: Name of the phase.
        source: Name of the source.
        record: The record's index in it.
        reason: What is broken.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    step: int
    phase: str
    source: str
    record: int
    reason: str


def append_skipped(run: Path, step: int, phase: str, records: Iterable[SkippedRecord]) -> None:
    """Name records, each once, up to :data:`MAX_NAMED` of them.

    Raises:
        CheckpointError: The file is damaged.
        WriteError: The disk is full, or the folder is missing.
    """
    lines = {(line.phase, line.source, line.record): line for line in read_skipped(run)}
    known = len(lines)
    for each in records:
        if len(lines) < MAX_NAMED:
            line = SkippedLine(step=step, phase=phase, source=each.source, record=each.record, reason=each.reason)
            lines.setdefault((phase, each.source, each.record), line)
    if len(lines) > known:
        _write(run, lines.values())


def drop_skipped_after(run: Path, step: int) -> None:
    """Forget what was left out after ``step``: a resumed run takes those steps again."""
    lines = read_skipped(run)
    kept = [line for line in lines if line.step <= step]
    if len(kept) < len(lines):
        _write(run, kept)


def read_skipped(run: Path) -> list[SkippedLine]:
    """Return the records that a run left out and named, in the order in which it met them.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = run / SKIPPED
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [SkippedLine.model_validate_json(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint="remove it; it is a record only") from error


def _write(run: Path, lines: Iterable[SkippedLine]) -> None:
    write_text(run / SKIPPED, "".join(json.dumps(line.model_dump()) + "\n" for line in lines))
