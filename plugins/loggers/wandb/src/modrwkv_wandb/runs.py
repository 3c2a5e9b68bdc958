"""Runs in Weights & Biases.

A run keeps its id in ``wandb_id.txt``, so that a resumed training and an evaluation go on with the same run. Metrics
are drawn over ``step``, not over wandb's own counter, which only grows: a resumed training repeats steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import wandb

__all__ = ["finish", "log", "start", "summarize"]

_ID: Final = "wandb_id.txt"
_OPEN: Final[dict[Path, wandb.Run]] = {}


def start(run: Path, config: dict[str, Any] | None = None) -> None:
    """Begin the run, or go on with the one that the folder belongs to.

    Args:
        run: The run's folder.
        config: The manifest; None keeps what is known of it.
    """
    id_file = run / _ID
    known = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else None
    opened = wandb.init(dir=run, id=known, name=run.resolve().name, config=config, resume="allow", reinit="create_new")
    opened.define_metric("*", step_metric="step")
    id_file.write_text(f"{opened.id}\n", encoding="utf-8")
    _OPEN[run] = opened


def log(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Log metrics of a step."""
    _OPEN[run].log({"step": step, **metrics})


def finish(run: Path, *, failed: bool) -> None:
    """End the run."""
    _OPEN.pop(run).finish(exit_code=int(failed))


def summarize(run: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Add scores of an evaluation to the run's summary."""
    start(run)
    _OPEN[run].summary.update(
        {"evaluation/step": step} | {f"evaluation/{key}": value for key, value in metrics.items()}
    )
    finish(run, failed=False)
