"""Tells TensorBoard of runs where ``TENSORBOARD_LOGGING_DIR`` is set; imports nothing heavy before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from modrwkv_core.plugin import hookimpl

VARIABLE = "TENSORBOARD_LOGGING_DIR"


@hookimpl
def modrwkv_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Write the metrics to event files."""
    if os.environ.get(VARIABLE):
        from modrwkv_tensorboard.events import write

        write(Path(os.environ[VARIABLE]), run, step, metrics, repeats=True)


@hookimpl
def modrwkv_run_finished(run: Path) -> None:
    """Close the event file."""
    if os.environ.get(VARIABLE):
        from modrwkv_tensorboard.events import close

        close(run)


@hookimpl
def modrwkv_evaluated(run: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Write the scores to an event file of their own."""
    if os.environ.get(VARIABLE):
        from modrwkv_tensorboard.events import close, write

        scores = {f"evaluation/{name}": value for name, value in metrics.items()}
        write(Path(os.environ[VARIABLE]), run, step, scores, repeats=False)
        close(run)
