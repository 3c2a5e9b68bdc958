"""Runs in MLflow, through its client: nothing here depends on MLflow's active run.

A run keeps its id in ``mlflow_id.txt``, so that a resumed training and an evaluation go on with the same run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

__all__ = ["finish", "log", "start"]

_ID: Final = "mlflow_id.txt"
_BATCH: Final = 100
"""Parameters that MLflow takes at once."""


def start(run: Path, manifest: Mapping[str, Any]) -> None:
    """Begin the run, or go on with the one that the folder belongs to.

    Args:
        run: The run's folder.
        manifest: Its values become parameters, by dotted path. Its name is that of the experiment, unless
            ``MLFLOW_EXPERIMENT_NAME`` names one.
    """
    client = MlflowClient()
    id_file = run / _ID
    if id_file.exists():
        client.update_run(_id(run), status="RUNNING")
        return
    experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or manifest["name"]
    experiment = client.get_experiment_by_name(experiment_name)
    experiment_id = client.create_experiment(experiment_name) if experiment is None else experiment.experiment_id
    run_id = client.create_run(experiment_id, run_name=run.resolve().name).info.run_id
    params = list(_flat(manifest))
    for first in range(0, len(params), _BATCH):
        client.log_batch(run_id, params=params[first : first + _BATCH])
    id_file.write_text(f"{run_id}\n", encoding="utf-8")


def log(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Log the numbers among the metrics of a step."""
    now = int(time.time() * 1000)
    numbers = [Metric(name, value, now, step) for name, value in metrics.items() if not isinstance(value, str)]
    MlflowClient().log_batch(_id(run), metrics=numbers)


def finish(run: Path, *, failed: bool) -> None:
    """End the run."""
    MlflowClient().set_terminated(_id(run), status="FAILED" if failed else "FINISHED")


def _id(run: Path) -> str:
    id_file = run / _ID
    if not id_file.exists():
        raise RuntimeError(f"{run} has no {_ID}: it was trained without MLFLOW_TRACKING_URI")
    return id_file.read_text(encoding="utf-8").strip()


def _flat(values: Any, path: str = "") -> Iterator[Param]:
    items = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else None
    if items is None:
        yield Param(path, str(values))
        return
    for key, value in items:
        yield from _flat(value, f"{path}.{key}" if path else str(key))
