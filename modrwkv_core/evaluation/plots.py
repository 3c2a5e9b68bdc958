"""Signals and forecasts as images for the report.

Drawings are SVG, made with matplotlib's object interface. What is drawn in the color of the ink follows the reader's
light or dark color scheme.

Legend of shape suffixes: P points of the context, H points of the horizon, C columns.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from modrwkv_core.evaluation.spectrogram import FLOOR, decibels
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform

__all__ = ["Drawing", "draw_forecast", "draw_losses", "draw_signal"]

_INK: Final = "#010203"  # stands for the reader's text color until the SVG is written
_ACCENTS: Final = ("#3f7fdb", "#dd6b20", "#1c9a84", "#9566d6", "#c9497c", "#8a8f1d")
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "modrwkv",
    "font.size": 8,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.xmargin": 0.01,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_COLUMNS: Final = 8
"""Most columns of a series that are drawn."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """An image for a page.

    Attributes:
        uri: The image itself, as a ``data:`` address.
        alt: What it shows, in words.
        pixelated: Whether enlarging must keep its pixels sharp.
    """

    uri: str
    alt: str
    pixelated: bool = False


def draw_signal(signal: Any) -> Drawing | None:
    """Draw an image, a waveform (as a spectrogram) or a series; None for any other signal."""
    match signal:
        case Image():
            return _draw_picture(signal)
        case Waveform():
            return _draw_spectrogram(signal)
        case TimeSeries():
            return _draw_series(signal)
        case _:
            return None


def _draw_picture(picture: Image) -> Drawing:
    height, width, _ = picture.pixels.shape
    file = io.BytesIO()
    PIL.Image.fromarray(picture.pixels).save(file, "PNG")
    return Drawing(_uri("image/png", file), f"image, {width} by {height} pixels", pixelated=max(width, height) <= 128)


@matplotlib.rc_context(_STYLE)
def _draw_spectrogram(waveform: Waveform) -> Drawing:
    seconds = len(waveform.samples) / waveform.rate
    figure = Figure(figsize=(3.0, 1.8))
    axes = figure.add_subplot()
    axes.imshow(
        decibels(waveform),
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=FLOOR,
        vmax=0.0,
        interpolation="bilinear",
        extent=(0.0, seconds, 0.0, waveform.rate / 2000),
    )
    axes.set_xlabel("seconds")
    axes.set_ylabel("kHz")
    return _drawing(figure, f"spectrogram of {seconds:.2f} seconds of sound at {waveform.rate} Hz")


@matplotlib.rc_context(_STYLE)
def _draw_series(series: TimeSeries) -> Drawing:
    points, columns = series.values.shape
    figure = Figure(figsize=(3.0, 1.8))
    axes = figure.add_subplot()
    for index, values in enumerate(series.values.T[:_COLUMNS]):
        axes.plot(values, color=_ACCENTS[index % len(_ACCENTS)])
    axes.set_xlabel("points")
    return _drawing(figure, f"series of {points} points in {columns} column{'s' if columns > 1 else ''}")


@matplotlib.rc_context(_STYLE)
def draw_forecast(past_PC: NDArray[np.float32], truth_HC: NDArray[np.float32], forecast: Forecast) -> Drawing:
    """Draw a forecast over the true series, after the end of the context, one panel for each column.

    The intervals between quantiles are shaded, the inner ones darker.
    """
    horizon, columns = truth_HC.shape
    drawn = min(columns, _COLUMNS)
    across = min(drawn, 2)
    down = -(-drawn // across)
    figure = Figure(figsize=(9.6, 0.5 + 1.25 * down))
    panels = figure.subplots(down, across, sharex=True, squeeze=False).ravel()
    shown_PC = past_PC[-2 * horizon :]
    after = np.arange(1, horizon + 1)
    for column, axes in enumerate(panels):
        if column >= drawn:
            axes.set_axis_off()
            panels[column - across].tick_params(labelbottom=True)
            continue
        axes.axvline(0.5, color=_INK, alpha=0.35, linewidth=0.6, linestyle=":")
        axes.plot(np.arange(1 - len(shown_PC), 1), shown_PC[:, column], color=_INK, alpha=0.4, label="context")
        for lower, upper in _intervals(tuple(forecast.quantiles)):
            low_H, high_H = (forecast.quantiles[level][:, column] for level in (lower, upper))
            label = f"{100 * lower:.4g} to {100 * upper:.4g} % quantile"
            axes.fill_between(after, low_H, high_H, color=_ACCENTS[1], alpha=0.15, linewidth=0, label=label)
        axes.plot(after, truth_HC[:, column], color=_INK, label="truth")
        axes.plot(after, forecast.points[:, column], color=_ACCENTS[1], label="forecast")
        if columns > 1:
            axes.set_title(f"column {column + 1}")
    figure.supxlabel("points after the end of the context", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=5)
    shaded = f" with {len(forecast.quantiles)} quantiles" if forecast.quantiles else ""
    return _drawing(
        figure, f"forecast of {horizon} points{shaded} drawn over the true series, {drawn} of {columns} columns"
    )


def _intervals(levels: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return the widest interval of the forecast, and one half as wide at most."""
    pairs = list(zip(levels[: len(levels) // 2], reversed(levels), strict=False))
    inner = [(low, high) for low, high in pairs if high - low <= (levels[-1] - levels[0]) / 2]
    return pairs[:1] + inner[:1]


@matplotlib.rc_context(_STYLE)
def draw_losses(metrics: Sequence[Mapping[str, float | str]]) -> Drawing | None:
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
    for axes, head in zip(figure.subplots(1, len(heads), squeeze=False).ravel(), heads, strict=True):
        for phase, color in zip(phases, _cycled(len(phases)), strict=True):
            lines = [line for line in metrics if line["phase"] == phase]
            _draw_loss(axes, lines, head, str(phase), color)
        axes.set_title(f"loss/{head}")
        axes.set_xlabel("step")
        if all(float(line[f"loss/{head}"]) > 0 for line in metrics if f"loss/{head}" in line):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_locator(NullLocator())
        axes.legend()
    return _drawing(figure, f"loss curves of the heads {', '.join(heads)} in the phases {', '.join(map(str, phases))}")


def _draw_loss(axes: Axes, lines: Sequence[Mapping[str, float | str]], head: str, phase: str, color: str) -> None:
    """Draw one phase: the logged losses faintly, their running mean, and the losses on validation data as dots."""
    steps, losses = _curve(lines, f"loss/{head}")
    valid_steps, valid_losses = _curve(lines, f"valid/{head}")
    if len(losses):
        axes.plot(steps, losses, color=color, alpha=0.3, linewidth=0.8)
        axes.plot(steps, _smoothed(losses), color=color, label=phase)
    if len(valid_losses):
        axes.plot(valid_steps, valid_losses, "o", color=color, markersize=4, label=f"{phase}, validation")


def _curve(lines: Sequence[Mapping[str, float | str]], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _cycled(count: int) -> list[str]:
    return [_ACCENTS[index % len(_ACCENTS)] for index in range(count)]


def _drawing(figure: Figure, alt: str) -> Drawing:
    file = io.StringIO()
    figure.savefig(file, format="svg", dpi=160, transparent=True, metadata={"Date": None})
    ink = "<style>svg{color:#1b1d22}@media(prefers-color-scheme:dark){svg{color:#e4e6ea}}</style>"
    svg = file.getvalue().replace(_INK, "currentColor").replace("</metadata>", f"</metadata>{ink}", 1)
    assert ink in svg
    return Drawing(_uri("image/svg+xml", io.BytesIO(svg.encode())), alt)


def _uri(kind: str, file: io.BytesIO) -> str:
    return f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
