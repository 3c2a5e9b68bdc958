"""Signals and forecasts as images for the report.

Legend of shape suffixes: P points of the context, H points of the horizon, C columns.
"""

from __future__ import annotations

import io
from typing import Any, Final

import matplotlib
import numpy as np
import PIL.Image
from matplotlib.figure import Figure
from numpy.typing import NDArray

from modrwkv_core.drawing import ACCENTS, INK, STYLE, Drawing, data_uri, to_drawing
from modrwkv_core.evaluation.spectrogram import FLOOR, decibels
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform

__all__ = ["draw_forecast", "draw_signal"]

_COLUMNS: Final = 8
"""Most columns of a series that are drawn."""


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
    return Drawing(
        data_uri("image/png", file), f"image, {width} by {height} pixels", pixelated=max(width, height) <= 128
    )


@matplotlib.rc_context(STYLE)
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
    return to_drawing(figure, f"spectrogram of {seconds:.2f} seconds of sound at {waveform.rate} Hz")


@matplotlib.rc_context(STYLE)
def _draw_series(series: TimeSeries) -> Drawing:
    points, columns = series.values.shape
    figure = Figure(figsize=(3.0, 1.8))
    axes = figure.add_subplot()
    for index, values in enumerate(series.values.T[:_COLUMNS]):
        axes.plot(values, color=ACCENTS[index % len(ACCENTS)])
    axes.set_xlabel("points")
    return to_drawing(figure, f"series of {points} points in {columns} column{'s' if columns > 1 else ''}")


@matplotlib.rc_context(STYLE)
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
        axes.axvline(0.5, color=INK, alpha=0.35, linewidth=0.6, linestyle=":")
        axes.plot(np.arange(1 - len(shown_PC), 1), shown_PC[:, column], color=INK, alpha=0.4, label="context")
        for lower, upper in _intervals(tuple(forecast.quantiles)):
            low_H, high_H = (forecast.quantiles[level][:, column] for level in (lower, upper))
            label = f"{100 * lower:.4g} to {100 * upper:.4g} % quantile"
            axes.fill_between(after, low_H, high_H, color=ACCENTS[1], alpha=0.15, linewidth=0, label=label)
        axes.plot(after, truth_HC[:, column], color=INK, label="truth")
        axes.plot(after, forecast.points[:, column], color=ACCENTS[1], label="forecast")
        if columns > 1:
            axes.set_title(f"column {column + 1}")
    figure.supxlabel("points after the end of the context", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=5)
    shaded = f" with {len(forecast.quantiles)} quantiles" if forecast.quantiles else ""
    return to_drawing(
        figure, f"forecast of {horizon} points{shaded} drawn over the true series, {drawn} of {columns} columns"
    )


def _intervals(levels: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return the widest interval of the forecast, and one half as wide at most."""
    pairs = list(zip(levels[: len(levels) // 2], reversed(levels), strict=False))
    inner = [(low, high) for low, high in pairs if high - low <= (levels[-1] - levels[0]) / 2]
    return pairs[:1] + inner[:1]
