"""What training logged, as curves over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from modrwkv_core.drawing import ACCENTS, INK, STYLE, Drawing, accents, to_drawing

__all__ = ["draw_losses", "draw_metrics"]

_LOGARITHMIC: Final = ("gradient_norm", "update_norm", "feature_norm")
"""Panels whose curves lie orders of magnitude apart."""

_DASHES: Final = ("-", "--", ":")
"""Of curves in one panel, whenever the colors begin again."""

_LEGEND_ROWS: Final = 11
"""That are as high as a panel."""

Lines: TypeAlias = Sequence[Mapping[str, float | str]]


@matplotlib.rc_context(STYLE)
def draw_losses(metrics: Lines) -> Drawing | None:
    """Draw the loss of each head over the steps of all phases; None if no loss was logged.

    Args:
        metrics: The metrics of the run, in the order in which they were logged, under the names ``step``, ``phase``,
            ``loss/<head>``, and ``valid/<head>`` for the loss on validation data.
    """
    heads = sorted({name.removeprefix("loss/") for line in metrics for name in line if name.startswith("loss/")})
    if not heads:
        return None
    phases = list(dict.fromkeys(line["phase"] for line in metrics))
    figure = Figure(figsize=(9.6, 2.8))
    _draw_loss_panels(figure, metrics, heads, phases)
    return to_drawing(
        figure, f"loss curves of the heads {', '.join(heads)} in the phases {', '.join(map(str, phases))}"
    )


def _draw_loss_panels(figure: Figure, metrics: Lines, heads: Sequence[str], phases: Sequence[float | str]) -> None:
    """Draw a panel for each head, with one legend beside all of them."""
    curves: dict[str, Artist] = {}
    for axes, head in zip(figure.subplots(1, len(heads), squeeze=False).ravel(), heads, strict=True):
        for phase, color in zip(phases, accents(len(phases)), strict=True):
            lines = [line for line in metrics if line["phase"] == phase]
            _draw_loss(axes, lines, head, str(phase), color)
        axes.set_title(f"loss/{head}")
        axes.set_xlabel("step")
        if all(float(line[f"loss/{head}"]) > 0 for line in metrics if f"loss/{head}" in line):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        handles, labels = axes.get_legend_handles_labels()
        curves |= dict(zip(labels, handles, strict=True))
    figure.legend(curves.values(), curves.keys(), loc="outside right upper")


def _draw_loss(axes: Axes, lines: Lines, head: str, phase: str, color: str) -> None:
    """Draw one phase: the logged losses faintly, their running mean, and the losses on validation data as dots."""
    steps, losses = _curve(lines, f"loss/{head}")
    valid_steps, valid_losses = _curve(lines, f"valid/{head}")
    if len(losses):
        axes.plot(steps, losses, color=color, alpha=0.3, linewidth=0.8)
        axes.plot(steps, _smoothed(losses), color=color, label=phase)
    if len(valid_losses):
        axes.plot(valid_steps, valid_losses, "o", color=color, markersize=4, label=f"{phase}, validation")


def _curve(lines: Lines, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = [(float(line["step"]), float(line[name])) for line in lines if name in line]
    steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at each point the mean of the values after it, a twentieth of the curve at most."""
    width = max(1, len(values) // 20)
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


@matplotlib.rc_context(STYLE)
def draw_metrics(metrics: Lines) -> Drawing | None:
    """Draw every other number that was logged, one panel for each; None if there is none.

    Names with the same word before a slash share a panel. Dotted lines stand where a phase begins.

    Args:
        metrics: The metrics of the run, as in :func:`draw_losses`.
    """
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for line in metrics for name, value in line.items() if not isinstance(value, str)):
        word = name.partition("/")[0]
        if word not in ("step", "loss", "valid", "valid_loss"):
            panels.setdefault(word, []).append(name)
    if not panels:
        return None
    groups = [
        ({word: names for word, names in panels.items() if (len(names) > 1) is shared}, across)
        for shared, across in ((True, 2), (False, 3))  # the legends of shared panels stand beside them
    ]
    groups = [(group, across) for group, across in groups if group]
    rows = [-(-len(group) // across) for group, across in groups]
    figure = Figure(figsize=(9.6, 1.9 * sum(rows)))
    parts = figure.subfigures(len(groups), height_ratios=rows, squeeze=False).ravel()
    for part, (group, across) in zip(parts, groups, strict=True):
        _draw_panels(part, metrics, group, across)
    return to_drawing(figure, f"curves of {', '.join(panels)} over the steps of training")


def _draw_panels(figure: FigureBase, metrics: Lines, panels: Mapping[str, Sequence[str]], across: int) -> None:
    """Draw panels of the names that each holds, so many across."""
    grid = figure.subplots(-(-len(panels) // across), across, sharex=True, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for index, (axes, (word, names)) in enumerate(zip(grid, panels.items(), strict=False)):
        # A total stands after its parts, which so have the same colors in all panels.
        names = sorted(names, key=lambda name: "/" not in name)
        for number, (name, color) in enumerate(zip(names, accents(len(names)), strict=True)):
            dashes = _DASHES[number // len(ACCENTS) % len(_DASHES)]
            axes.plot(*_curve(metrics, name), dashes, color=color, label=name.partition("/")[2] or name)
        for step in _phase_starts(metrics):
            axes.axvline(step, color=INK, alpha=0.35, linewidth=0.6, linestyle=":")
        if word in _LOGARITHMIC and all(float(line[name]) > 0 for line in metrics for name in names if name in line):
            axes.set_yscale("log")
        axes.set_title(word)
        if len(names) > 1:
            columns = -(-len(names) // _LEGEND_ROWS)
            axes.legend(
                loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, labelspacing=0.2, ncols=columns
            )
        if index + across >= len(panels):
            axes.set_xlabel("step")
            axes.tick_params(labelbottom=True)


def _phase_starts(metrics: Lines) -> list[float]:
    """Return the first logged step of each phase after the first."""
    starts = {line["phase"]: float(line["step"]) for line in reversed(metrics) if "phase" in line}
    return sorted(starts.values())[1:]
