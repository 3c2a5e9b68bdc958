"""Runs in Trackio: one open run for each run that is being trained in this process.

Trackio replaces a run's configuration whenever the run is opened, so the folder keeps it in ``trackio_config.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import trackio
from trackio.run import Run

__all__ = ["finish", "log", "start"]

_CONFIG: Final = "trackio_config.json"
_OPEN: Final[dict[Path, Run]] = {}


def start(project: str, run: Path, config: dict[str, Any] | None) -> None:
    """Begin the run, or go on with the one of the same name.

    Args:
        project: Trackio's project.
        run: The run's folder, whose name is the run's name there.
        config: The manifest; None takes the one that the run was begun with.
    """
    path = run / _CONFIG
    if config is not None:
        path.write_text(json.dumps(config), encoding="utf-8")
    elif path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
    _OPEN[run] = trackio.init(project=project, name=run.resolve().name, config=config, resume="allow", embed=False)


def log(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Log metrics of a step."""
    _OPEN[run].log(dict(metrics), step=step)


def finish(run: Path) -> None:
    """Write what is not written yet, and end the run."""
    _OPEN.pop(run).finish()  # type: ignore[no-untyped-call]
