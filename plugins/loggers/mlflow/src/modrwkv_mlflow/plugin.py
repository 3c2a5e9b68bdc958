"""Tells MLflow of runs where ``MLFLOW_TRACKING_URI`` is set; imports nothing heavy before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modrwkv_core.plugin import hookimpl

if TYPE_CHECKING:
    from pydantic import BaseModel

VARIABLE = "MLFLOW_TRACKING_URI"


@hookimpl
def modrwkv_run_started(run: Path, manifest: BaseModel) -> None:
    """Begin the run there, or go on with it."""
    if os.environ.get(VARIABLE):
        from modrwkv_mlflow.runs import start

        start(run, manifest.model_dump(mode="json"))


@hookimpl
def modrwkv_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Log the metrics."""
    if os.environ.get(VARIABLE):
        from modrwkv_mlflow.runs import log

        log(run, step, metrics)


@hookimpl
def modrwkv_run_finished(run: Path, error: BaseException | None) -> None:
    """End the run there."""
    if os.environ.get(VARIABLE):
        from modrwkv_mlflow.runs import finish

        finish(run, failed=error is not None)


@hookimpl
def modrwkv_evaluated(run: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Log the scores."""
    if os.environ.get(VARIABLE):
        from modrwkv_mlflow.runs import log

        log(run, step, {f"evaluation/{name}": value for name, value in metrics.items()})
