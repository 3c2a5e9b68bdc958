"""The report of a sweep: its table, and the objective over each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modrwkv_core.drawing import ACCENTS, INK, STYLE, Drawing, to_drawing
from modrwkv_core.evaluation.page import write_page
from modrwkv_core.evaluation.report import REPORT
from modrwkv_core.experiments.comparison import Comparison, TrialRow
from modrwkv_core.experiments.config import Parameter
from modrwkv_core.experiments.space import label

__all__ = ["draw_objective", "write_sweep_report"]

_LABEL_LENGTH = 28


def write_sweep_report(comparison: Comparison, folder: Path) -> Path:
    """Write ``report.html`` into a sweep's folder and return its path.

    Raises:
        WriteError: The folder cannot be written.
    """
    sweep, objective = comparison.sweep, comparison.objective
    complete = [row for row in comparison.ranked if row.error is None]
    summary = {
        "objective": f"{objective.name}, {'higher' if objective.direction == 'maximize' else 'lower'} is better",
        "method": f"{sweep.method}, {len(comparison.rows)} trials",
        "seeds": ", ".join(map(str, comparison.seeds)),
        "manifest": sweep.manifest,
    }
    if complete:
        best = complete[0]
        summary["best"] = comparison.line(best)
    assert __package__ is not None
    write_page(
        folder / REPORT,
        __package__,
        "sweep.html.j2",
        title=comparison.name,
        summary=summary,
        plots=[draw_objective(comparison, name, parameter) for name, parameter in sweep.parameters.items()]
        if complete
        else [],
        head=comparison.head,
        rows=[_shown(comparison, row, folder) for row in comparison.ranked],
        failed=[row for row in comparison.ranked if row.error is not None],
        several_seeds=len(comparison.seeds) > 1,
    )
    return folder / REPORT


def _shown(comparison: Comparison, row: TrialRow, folder: Path) -> Mapping[str, Any]:
    runs = {seed: f"trial-{row.number:03d}/seed-{seed}/{REPORT}" for seed in comparison.seeds}
    return {
        "cells": comparison.cells(row),
        "failed": row.error is not None,
        "reports": {seed: path for seed, path in runs.items() if (folder / path).exists()},
    }


@matplotlib.rc_context(STYLE)
def draw_objective(comparison: Comparison, name: str, parameter: Parameter) -> Drawing:
    """Draw the objective of all complete trials over one parameter: dots for runs, bars for means and intervals."""
    rows = [row for row in comparison.rows if row.error is None]
    figure = Figure(figsize=(9.6, 2.8))
    axes = figure.add_subplot()
    if parameter.values is None:
        places = [float(row.point[name]) for row in rows]
        if parameter.log:
            axes.set_xscale("log")
    else:
        values = list(parameter.values)
        # Trials of one value stand side by side, in their order.
        places = [values.index(row.point[name]) + _aside(rows, row, name) for row in rows]
        axes.set_xticks(range(len(values)), [_short(label(value)) for value in values])
        axes.set_xlim(-0.6, len(values) - 0.4)
    for place, row in zip(places, rows, strict=True):
        _draw_trial(axes, place, row)
    axes.set_xlabel(name)
    axes.set_ylabel(comparison.objective.name)
    return to_drawing(
        figure, f"{comparison.objective.name} of {len(rows)} trials over {name}; the table has the numbers"
    )


def _draw_trial(axes: Axes, place: float, row: TrialRow) -> None:
    found = list(row.objectives.values())
    if len(found) > 1:
        axes.plot([place] * len(found), found, "o", color=INK, alpha=0.4, markersize=3)
    axes.errorbar([place], [row.mean], yerr=row.half_width, fmt="o", color=ACCENTS[0], markersize=5, capsize=3)


def _aside(rows: Sequence[TrialRow], row: TrialRow, name: str) -> float:
    same = [other.number for other in rows if other.point[name] == row.point[name]]
    return 0.0 if len(same) == 1 else 0.5 * (sorted(same).index(row.number) / (len(same) - 1) - 0.5)


def _short(text: str) -> str:
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"
