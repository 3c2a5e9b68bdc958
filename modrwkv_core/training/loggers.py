"""The built-in logger: metrics as JSON Lines in the run's folder. A lifecycle plugin like any other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["METRICS", "append_metrics", "read_metrics", "truncate_metrics"]

METRICS = "metrics.jsonl"


def append_metrics(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Add one line of metrics."""
    with (run / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **metrics}) + "\n")


def read_metrics(run: Path) -> list[dict[str, float | str]]:
    """Return all lines of metrics; none if the run has not logged any. A line that a kill cut short is dropped."""
    path = run / METRICS
    if not path.exists():
        return []
    *complete, _cut = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in complete]


def truncate_metrics(run: Path, step: int) -> None:
    """Drop the metrics after ``step``: a resumed run takes those steps again."""
    kept = [line for line in read_metrics(run) if float(line["step"]) <= step]
    if (run / METRICS).exists():
        partial = run / f".{METRICS}.partial"
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(run / METRICS)
