"""Event files: one open writer for each run that is being trained in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from torch.utils.tensorboard import SummaryWriter

__all__ = ["close", "write"]

_WRITERS: Final[dict[Path, SummaryWriter]] = {}


def write(root: Path, run: Path, step: int, metrics: Mapping[str, float | str], *, repeats: bool) -> None:
    """Write the numbers among ``metrics`` to the event file of ``run`` in ``root``.

    Args:
        root: TensorBoard's folder; the run's event files lie in the folder of the run's name in it.
        run: The run's folder.
        step: Optimizer steps since the run's beginning.
        metrics: Value by name.
        repeats: Whether steps may come again after a kill: a new file then hides what was written from its first
            step on.
    """
    if run not in _WRITERS:
        _WRITERS[run] = SummaryWriter(str(root / run.resolve().name), purge_step=step if repeats else None)
    writer = _WRITERS[run]
    for name, value in metrics.items():
        if not isinstance(value, str):
            writer.add_scalar(name, value, step)
    writer.flush()


def close(run: Path) -> None:
    """Close the run's event file, if one is open."""
    if run in _WRITERS:
        _WRITERS.pop(run).close()
