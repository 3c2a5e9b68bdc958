"""Cost curves as SVG files, with the points where they cross."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from modrwkv_core.benchmarking.costs.crossings import crossings, write
from modrwkv_core.benchmarking.costs.grid import Axis
from modrwkv_core.benchmarking.costs.report import QUANTITIES, WORKS, CostReport, Quantity, Work
from modrwkv_core.drawing import ACCENTS, INK, STYLE, to_svg
from modrwkv_core.storage.files import write_text

__all__ = ["write_plots"]

LABELS: Final[dict[Quantity, str]] = {"time": "seconds of a call", "memory": "MiB of a call", "energy": "J of a call"}
SCALES: Final[dict[Quantity, float]] = {"time": 1.0, "memory": 1 / 2**20, "energy": 1.0}
MARKS: Final = {"out of memory": "out of\nmemory", "too slow": "too\nslow", "no room": "no\nroom"}


def write_plots(report: CostReport, folder: Path) -> list[Path]:
    """Write one file for each axis along which something was measured: ``context.svg``, ``pictures.svg``, ...

    Panels are works by quantities. A dotted line names a point where curves cross; what was marked instead of measured
    stands at its position under the color of its model.

    Raises:
        WriteError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for axis in (axis for axis, cells in report.curves.items() if len(cells) > 1):
        path = folder / f"{axis.replace(' ', '-')}.svg"
        write_text(path, _draw(report, axis))
        written.append(path)
    return written


@matplotlib.rc_context(STYLE)
def _draw(report: CostReport, axis: Axis) -> str:
    quantities = [
        quantity for quantity in QUANTITIES if any(row.value(quantity) is not None for row in report.rows)
    ] or ["time"]
    figure = Figure(figsize=(3.2 * len(WORKS), 2.1 * len(quantities)))
    panels = figure.subplots(len(quantities), len(WORKS), squeeze=False)
    for quantity, row in zip(quantities, panels, strict=True):
        for work, axes in zip(WORKS, row, strict=True):
            _draw_panel(axes, report, axis, work, quantity)
    for axes in panels[-1]:
        axes.set_xlabel(axis)
    for quantity, row in zip(quantities, panels, strict=True):
        row[0].set_ylabel(LABELS[quantity])
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper right", ncols=len(report.names))
    return to_svg(figure)


def _draw_panel(axes: Axes, report: CostReport, axis: Axis, work: Work, quantity: Quantity) -> None:
    axes.set_title(f"{work}: {quantity}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    places = [cell.on(axis) for cell in report.curves[axis]]
    axes.set_xticks(places, labels=[f"{place:,}" for place in places], rotation=30, ha="right")
    axes.xaxis.set_minor_locator(NullLocator())
    curves = [report.values(axis, work, name, quantity) for name in report.names]
    for index, (name, curve) in enumerate(zip(report.names, curves, strict=True)):
        color = ACCENTS[index]
        axes.plot(
            list(curve),
            [SCALES[quantity] * cost for cost in curve.values()],
            "o-",
            color=color,
            markersize=3,
            label=name,
        )
        for place, cost in report.curve(axis, work, name).items():
            if cost.status != "measured":
                top = 0.98 - 0.2 * index
                axes.text(
                    place,
                    top,
                    MARKS[cost.status],
                    color=color,
                    fontsize=6,
                    ha="center",
                    va="top",
                    transform=axes.get_xaxis_transform(),
                )
    axes.set_xlim(0.8 * places[0], 1.25 * places[-1])
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_locator(NullLocator())
    if len(curves) == 2:
        for point in crossings(curves[0], curves[1]):
            axes.axvline(point, color=INK, alpha=0.5, linewidth=0.6, linestyle=":")
            axes.annotate(
                write(point),
                (point, 0.02),
                xycoords=axes.get_xaxis_transform(),
                fontsize=7,
                xytext=(2, 0),
                textcoords="offset points",
            )
