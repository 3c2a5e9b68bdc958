"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from modrwkv_core.evaluation.plots import Drawing, draw_forecast, draw_losses, draw_signal
from modrwkv_core.evaluation.results import format_margin
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.record import Media, Target, Text, Turn
from modrwkv_core.interfaces.result import Example, Result, Score
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.storage.files import write_text

__all__ = ["write_report"]


_DIRECTIONS: Final = {True: ", higher is better", False: ", lower is better", None: ""}


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a conversation on the page: words, or a drawing."""

    role: str
    text: str = ""
    drawing: Drawing | None = None


@dataclass(frozen=True, slots=True)
class _Card:
    """An example on the page: what was asked, and predicted, in words or as a drawn forecast."""

    key: str
    asked: list[_Piece]
    answer: str
    truth: str
    correct: bool | None
    forecast: Drawing | None


@dataclass(frozen=True, slots=True)
class _Bar:
    """A method's score on the page, with the length of its bar in per cent."""

    method: str
    score: str
    length: float


@dataclass(frozen=True, slots=True)
class _Chart:
    """A metric of a task on the page."""

    metric: str
    direction: str
    ahead: bool
    margin: str
    bars: list[_Bar]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """A task on the page."""

    task: str
    count: int
    charts: list[_Chart]
    groups: dict[str, list[_Chart]]
    cards: list[_Card]


def write_report(
    path: Path,
    title: str,
    summary: Mapping[str, str],
    results: Sequence[Result],
    metrics: Sequence[Mapping[str, float | str]],
    decode: Callable[[Media], Any],
) -> None:
    """Write the page, which appears whole or not at all.

    Args:
        path: The HTML file.
        title: The run's name.
        summary: What the run is, line by line: name and value.
        results: What the tasks found.
        metrics: The metrics that training logged, in order; see :func:`modrwkv_core.evaluation.plots.draw_losses`.
        decode: Makes a signal of a medium, by its modality. Signals other than images, waveforms and series are
            listed by the name of their modality.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        title=title,
        summary=summary,
        losses=draw_losses(metrics),
        evaluations=[_evaluation(result, decode) for result in results],
    )
    write_text(path, page)


def _evaluation(result: Result, decode: Callable[[Media], Any]) -> _Evaluation:
    return _Evaluation(
        result.task,
        result.count,
        [_chart(score) for score in result.scores],
        {group: [_chart(score) for score in scores] for group, scores in result.groups.items()},
        [_card(example, decode) for example in result.examples],
    )


def _chart(score: Score) -> _Chart:
    metric = score.metric
    values = list(score.methods.values())
    return _Chart(
        metric=metric.name,
        direction=_DIRECTIONS[metric.higher_is_better],
        ahead=score.margin is not None and score.margin > 0,
        margin=format_margin(score),
        bars=[
            _Bar(method, metric.format(value), 100 * min(max(metric.bar(value, values), 0.0), 1.0))
            for method, value in score.methods.items()
        ],
    )


def _card(example: Example, decode: Callable[[Media], Any]) -> _Card:
    *before, _ = example.record.turns
    key, forecast = example.record.key, _forecast(example, decode)
    asked = [piece for turn in before for piece in _pieces(turn, decode)]
    if forecast is not None:
        return _Card(key, [piece for piece in asked if piece.text], "", "", None, forecast)
    return _Card(key, asked, str(example.prediction), str(example.truth), example.correct, None)


def _forecast(example: Example, decode: Callable[[Media], Any]) -> Drawing | None:
    """Draw the example's forecast; None if it is none: one or an array that continues the latest series."""
    prediction, truth = example.prediction, example.truth
    if isinstance(prediction, np.ndarray):
        prediction = Forecast(prediction)
    if not isinstance(prediction, Forecast) or not isinstance(truth, np.ndarray):
        return None
    media = [part for turn in example.record.turns for part in turn.parts if isinstance(part, Media)]
    series = [signal for signal in map(decode, media) if isinstance(signal, TimeSeries)]
    if not series or prediction.points.shape != truth.shape or truth.shape[1:] != series[-1].values.shape[1:]:
        return None
    return draw_forecast(series[-1].values, truth, prediction)


def _pieces(turn: Turn, decode: Callable[[Media], Any]) -> Iterator[_Piece]:
    for part in turn.parts:
        match part:
            case Text():
                yield _Piece(turn.role, part.text)
            case Media():
                drawing = draw_signal(decode(part))
                yield _Piece(turn.role, "" if drawing else f"[{part.modality}]", drawing)
            case Target():
                yield _Piece(turn.role, str(part.value))
