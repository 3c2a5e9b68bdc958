from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from modrwkv_core.drawing import STYLE, Drawing
from modrwkv_core.evaluation.curves import _draw_loss_panels, _draw_panels, draw_losses, draw_metrics
from modrwkv_core.evaluation.plots import draw_forecast, draw_signal
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform

SVG = "{http://www.w3.org/2000/svg}"


def content(drawing: Drawing | None, kind: str) -> bytes:
    assert drawing is not None
    head, data = drawing.uri.split(",", 1)
    assert head == f"data:{kind};base64"
    return base64.b64decode(data)


def svg(drawing: Drawing | None) -> ElementTree.Element:
    return ElementTree.fromstring(content(drawing, "image/svg+xml"))


def paths(drawing: Drawing | None, color: str) -> int:
    return sum(f"stroke: {color}" in path.get("style", "") for path in svg(drawing).iter(f"{SVG}path"))


def line(step: int, phase: str, **losses: float) -> dict[str, float | str]:
    return {"step": step, "phase": phase} | {name.replace("_", "/"): value for name, value in losses.items()}


def test_a_picture_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    drawing = draw_signal(Image(pixels))
    np.testing.assert_array_equal(np.array(PIL.Image.open(io.BytesIO(content(drawing, "image/png")))), pixels)
    assert drawing is not None
    assert drawing.alt == "image, 7 by 5 pixels"
    assert drawing.pixelated


def test_a_waveform_becomes_a_spectrogram() -> None:
    drawing = draw_signal(Waveform(np.sin(np.arange(4000, dtype=np.float32)), 8000))
    assert [*svg(drawing).iter(f"{SVG}image")]
    assert drawing is not None
    assert drawing.alt == "spectrogram of 0.50 seconds of sound at 8000 Hz"


def test_a_series_has_a_line_for_each_column() -> None:
    drawing = draw_signal(TimeSeries(np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)))
    assert [paths(drawing, color) for color in ("#3f7fdb", "#dd6b20", "#1c9a84", "#9566d6")] == [1, 1, 1, 0]


def test_an_unknown_signal_has_no_drawing() -> None:
    assert draw_signal(object()) is None


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 10))
def test_a_forecast_has_a_panel_for_each_column_up_to_eight(past: int, horizon: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(points, columns)).astype(np.float32) for points in (past, horizon, horizon)]
    drawing = draw_forecast(arrays[0], arrays[1], Forecast(arrays[2]))
    drawn = min(columns, 8)
    assert paths(drawing, "#dd6b20") == drawn + 1  # one more in the legend
    assert drawing.alt == f"forecast of {horizon} points drawn over the true series, {drawn} of {columns} columns"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_forecast_can_be_drawn(value: float) -> None:
    draw_forecast(np.zeros((4, 1), np.float32), np.ones((2, 1), np.float32), Forecast(np.full((2, 1), value)))


@pytest.mark.parametrize(
    ("levels", "shaded"), [([0.5], 0), ([0.1, 0.5, 0.9], 1), ([0.1, 0.3, 0.5, 0.7, 0.9], 2), ([0.1, 0.5], 1)]
)
def test_intervals_are_shaded(levels: list[float], shaded: int) -> None:
    points = np.zeros((3, 2), np.float32)
    forecast = Forecast(points, {level: points + level for level in levels})
    drawing = draw_forecast(points, points, forecast)
    fills = [path for path in svg(drawing).iter() if "fill-opacity: 0.15" in path.get("style", "")]
    assert len(fills) == 3 * shaded  # two columns and the legend
    assert f"with {len(levels)} quantiles" in drawing.alt


def test_losses_have_a_panel_for_each_head_and_a_color_for_each_phase() -> None:
    metrics = [line(step, "align", loss_lm=3.0 / step) for step in range(1, 9)]
    metrics += [line(step, "finetune", loss_lm=1.0 / step, loss_forecast=2.0) for step in range(9, 30)]
    metrics += [line(29, "finetune", valid_lm=0.1)]
    drawing = draw_losses(metrics)
    assert drawing is not None
    assert drawing.alt == "loss curves of the heads forecast, lm in the phases align, finetune"
    # the raw curve and the running mean of each head that has losses in the phase, and one line in the legend
    assert paths(drawing, "#3f7fdb") == 2 + 1
    assert paths(drawing, "#dd6b20") == 4 + 1 + 1  # and the shape of the validation dot


@matplotlib.rc_context(STYLE)
@pytest.mark.parametrize("heads", [["lm"], ["ctc", "forecast", "lm"]])
def test_one_legend_beside_the_losses_names_all_phases(heads: list[str]) -> None:
    phases = ["align", "pretrain", "a phase with a long name"]
    values = {f"{kind}_{head}": 1.0 for kind in ("loss", "valid") for head in heads}
    metrics = [line(step, phase, **values) for step, phase in enumerate(phases)]
    metrics.append(line(3, "no losses of all heads", loss_lm=1.0))
    figure = Figure(figsize=(9.6, 2.8))
    _draw_loss_panels(figure, metrics, heads, [*phases, "no losses of all heads"])
    figure.draw_without_rendering()
    [legend] = figure.legends
    assert [axes.get_legend() for axes in figure.axes] == [None] * len(heads)
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    shown = {text.get_text() for text in legend.get_texts()}
    assert shown == {*phases, *(f"{phase}, validation" for phase in phases), "no losses of all heads"}


@pytest.mark.parametrize("losses", [[1.0], [0.0, -1.0], [float("nan"), 1.0]])
def test_losses_of_any_sign_and_number_can_be_drawn(losses: list[float]) -> None:
    assert draw_losses([line(step, "align", loss_lm=loss) for step, loss in enumerate(losses)]) is not None


def test_a_run_without_losses_has_no_curves() -> None:
    assert draw_losses([]) is None
    assert draw_losses([line(1, "align", lr=0.1)]) is None


def test_drawings_are_repeatable_and_follow_the_readers_colors() -> None:
    series = TimeSeries(np.arange(6, dtype=np.float32).reshape(6, 1))
    first, second = draw_signal(series), draw_signal(series)
    assert first == second
    text = content(first, "image/svg+xml").decode()
    assert "currentColor" in text
    assert "#010203" not in text
    assert "prefers-color-scheme:dark" in text


def test_other_numbers_have_a_panel_for_each_word_before_a_slash() -> None:
    metrics = [line(step, "align", lr=1e-3) | {"gradient_norm": 1.0} for step in (1, 2)]
    metrics += [line(3, "finetune", lr=1e-4, norm_image=1.0, norm_text=2.0)]
    drawing = draw_metrics([*metrics, line(3, "finetune", loss_lm=1.0, valid_lm=1.0)])
    assert drawing is not None
    assert drawing.alt == "curves of lr, gradient_norm, norm over the steps of training"
    assert draw_metrics([line(1, "align", loss_lm=1.0)]) is None


@matplotlib.rc_context(STYLE)
@pytest.mark.parametrize("count", [2, 9, 20])
def test_legends_cover_no_curves_and_parts_keep_their_looks(count: int) -> None:
    parts = [f"modality_{number}.encoder" for number in range(count)]
    panels = {
        "gradient_norm": ["gradient_norm", *(f"gradient_norm/{part}" for part in parts)],
        "update_norm": [f"update_norm/{part}" for part in parts],
    }
    names = [name for panel in panels.values() for name in panel]
    metrics = [{"step": step, "phase": "align"} | dict.fromkeys(names, 1.0) for step in (1.0, 2.0)]
    figure = Figure(figsize=(9.6, 1.9))
    _draw_panels(figure, metrics, panels, 2)
    figure.draw_without_rendering()
    looks = []
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        box = legend.get_window_extent()
        assert not any(box.overlaps(other.bbox) for other in figure.axes)
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        looks.append({curve.get_label(): (curve.get_color(), curve.get_linestyle()) for curve in axes.lines})
    assert all(looks[0][part] == looks[1][part] for part in parts)
    assert len(set(looks[1].values())) == min(count, 18)
