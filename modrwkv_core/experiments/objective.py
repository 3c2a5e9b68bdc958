"""What decides a sweep: a score of an evaluation, or a metric that training logs."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modrwkv_core.errors import DataError, ManifestError
from modrwkv_core.experiments.config import Direction, Sweep
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.manifest.schema import Evaluation
from modrwkv_core.model.build import build
from modrwkv_core.training.loggers import read_metrics

__all__ = ["Objective", "find_objective", "scores"]


@dataclass(frozen=True, slots=True)
class Objective:
    """What decides a sweep.

    Attributes:
        name: The score's or metric's name.
        direction: Whether a low or a high one is good.
    """

    name: str
    direction: Direction

    def of(self, found: dict[str, float]) -> float:
        """Return the objective among a run's scores.

        Raises:
            DataError: The run has no such score, or it is not finite.
        """
        if self.name not in found:
            raise DataError(
                f"the run has no score {self.name!r}", hint=f"set `objective` to one of {', '.join(found) or 'none'}"
            )
        if not math.isfinite(found[self.name]):
            raise DataError(f"{self.name} is {found[self.name]}", hint="the run diverged, or predicted no number")
        return found[self.name]


def find_objective(sweep: Sweep, loaded: LoadedManifest, place: str) -> Objective:
    """Return the objective of a sweep, whose direction its metric knows.

    Args:
        sweep: The sweep.
        loaded: Its manifest.
        place: Where the sweep was written, for messages.

    Raises:
        ManifestError: The manifest has nothing of that name, or its direction is not known.
    """
    manifest = loaded.manifest
    task, _, metric = sweep.objective.partition("/")
    if task in manifest.evaluation:
        direction = sweep.direction or _direction(loaded, manifest.evaluation[task], metric)
    elif sweep.objective == "loss" or (task == "loss" and metric in manifest.heads):
        direction = sweep.direction or "minimize"
    elif task == "valid" and metric in manifest.heads:
        if not manifest.data.valid:
            raise ManifestError(
                f"{place}: objective: {sweep.objective} needs validation data", hint="add `data.valid` to the manifest"
            )
        direction = sweep.direction or "minimize"
    elif sweep.direction is not None:
        direction = sweep.direction
    else:
        known = [f"{name}/{config.type}" for name, one in manifest.evaluation.items() for config in one.task.metrics]
        known += [f"{word}/{head}" for word in ("valid", "loss") for head in manifest.heads]
        close = difflib.get_close_matches(sweep.objective, known, n=1)
        raise ManifestError(
            f"{place}: objective: the manifest has no {sweep.objective!r}",
            hint=f"did you mean '{close[0]}'?"
            if close
            else f"it has {', '.join(known)}; any other metric that training logs needs a `direction`",
        )
    if direction is None:
        raise ManifestError(
            f"{place}: objective: whether a high {sweep.objective} is good is not known",
            hint="add `direction: maximize` or `direction: minimize`",
        )
    return Objective(sweep.objective, direction)


def _direction(loaded: LoadedManifest, section: Evaluation, name: str) -> Direction | None:
    """Ask the metrics of a task, and then the installed metric of that name, in which direction it is good."""
    metrics = [build(loaded.registry, "metric", config.type, config) for config in section.task.metrics]
    better = [metric.higher_is_better for metric in metrics if metric.name == name]
    if not better and name in loaded.registry.names("metric"):
        better = [loaded.registry.implementation("metric", name).higher_is_better]
    if not better or better[0] is None:
        return None
    return "maximize" if better[0] else "minimize"


def scores(run: Path) -> dict[str, float]:
    """Return the model's scores of a run, and the newest value of every metric that training logged."""
    logged = {
        name: float(value)
        for line in read_metrics(run)
        for name, value in line.items()
        if name != "step" and not isinstance(value, str)
    }
    path = run / "results.json"
    if not path.exists():
        return logged
    tasks: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["tasks"]
    return logged | {
        f"{task}/{metric}": math.nan if found["score"] is None else found["score"]
        for task, result in tasks.items()
        for metric, found in result["metrics"].items()
    }
