"""What an evaluation found, as it stands in a report: bars of scores, and cards with examples.

A run keeps it in ``evaluation.json``, so that its report can be written again without the model and its data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from modrwkv_core.drawing import Drawing
from modrwkv_core.errors import CheckpointError
from modrwkv_core.evaluation.plots import draw_forecast, draw_signal
from modrwkv_core.evaluation.results import format_interval, format_margin
from modrwkv_core.interfaces.forecast import Continuation, Forecast
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Media, Target, Text, Turn
from modrwkv_core.interfaces.result import Example, Result, Score
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.storage.files import write_text

__all__ = ["Evaluation", "evaluation_cards", "read_evaluations", "write_evaluations"]

_FILE: Final = "evaluation.json"
_DRAWN_MEDIA: Final = 16
"""Of a conversation; the others are named only, because a stream may hold thousands."""

_DIRECTIONS: Final = {True: ", higher is better", False: ", lower is better", None: ""}


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a conversation on the page: words, or a drawing."""

    role: str
    text: str = ""
    drawing: Drawing | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """An example on the page: what was asked, and predicted, in words or as a drawn forecast."""

    key: str
    asked: list[Piece]
    answer: str
    truth: str
    correct: bool | None
    forecast: Drawing | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A method's score on the page, with the length of its bar in per cent."""

    method: str
    score: str
    length: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A metric of a task on the page."""

    metric: str
    direction: str
    ahead: bool
    interval: str
    margin: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A task on the page."""

    task: str
    count: int
    charts: list[Chart]
    groups: dict[str, list[Chart]]
    cards: list[Card]
    errors: list[Card]


_EVALUATIONS: Final = TypeAdapter(list[Evaluation])


def evaluation_cards(result: Result, decode: Callable[[Media], Any]) -> Evaluation:
    """Prepare what a task found for the page.

    Args:
        result: What it found.
        decode: Makes a signal of a medium, by its modality. Signals other than images, waveforms and series are
            listed by the name of their modality.
    """
    return Evaluation(
        result.task,
        result.count,
        [_chart(score) for score in result.scores],
        {group: [_chart(score) for score in scores] for group, scores in result.groups.items()},
        [_card(example, decode) for example in result.examples],
        [_card(example, decode) for example in result.errors],
    )


def write_evaluations(run: Path, evaluations: Sequence[Evaluation]) -> None:
    """Keep what a run's evaluation found."""
    write_text(run / _FILE, _EVALUATIONS.dump_json(list(evaluations), indent=1).decode() + "\n")


def read_evaluations(run: Path) -> list[Evaluation]:
    """Return what the run's newest evaluation found; nothing if it has not been evaluated.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = run / _FILE
    if not path.exists():
        return []
    try:
        return _EVALUATIONS.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path} is damaged: {place}: {first['msg']}", hint=f"evaluate again: modrwkv evaluate {run}"
        ) from error


def _chart(score: Score) -> Chart:
    metric = score.metric
    values = list(score.methods.values())
    return Chart(
        metric=metric.name,
        direction=_DIRECTIONS[metric.higher_is_better],
        ahead=score.margin is not None and score.margin > 0,
        interval=format_interval(score),
        margin=format_margin(score),
        bars=[
            Bar(method, metric.format(value), 100 * min(max(metric.bar(value, values), 0.0), 1.0))
            for method, value in score.methods.items()
        ],
    )


def _card(example: Example, decode: Callable[[Media], Any]) -> Card:
    before = example.record.turns[:-1]
    key, forecast = example.record.key, _forecast(example, decode)
    asked = list(_pieces(before, decode))
    if forecast is not None:
        return Card(key, [piece for piece in asked if piece.text], "", "", None, forecast)
    answer, truth = _written(example.prediction), _written(example.truth)
    return Card(key, asked, answer, truth, example.correct, None)


def _written(value: Any) -> str:
    match value:
        case LogLikelihood(total, tokens):
            return f"log-likelihood {total:.4g} nats of {tokens} tokens"
        case tuple():
            return " | ".join(dict.fromkeys(map(str, value)))  # the answers of annotators, each once
        case _:
            return str(value)


def _forecast(example: Example, decode: Callable[[Media], Any]) -> Drawing | None:
    """Draw the example's forecast; None if it is none: one or an array that continues the latest series."""
    prediction, truth = example.prediction, example.truth
    if isinstance(truth, Continuation):
        truth = truth.values
    if isinstance(prediction, np.ndarray):
        prediction = Forecast(prediction)
    if not isinstance(prediction, Forecast) or not isinstance(truth, np.ndarray):
        return None
    media = [part for turn in example.record.turns for part in turn.parts if isinstance(part, Media)]
    series = [signal for signal in map(decode, media) if isinstance(signal, TimeSeries)]
    if not series or prediction.points.shape != truth.shape or truth.shape[1:] != series[-1].values.shape[1:]:
        return None
    return draw_forecast(series[-1].values, truth, prediction)


def _pieces(turns: Sequence[Turn], decode: Callable[[Media], Any]) -> Iterator[Piece]:
    drawn = 0
    for turn in turns:
        for part in turn.parts:
            match part:
                case Text():
                    yield Piece(turn.role, part.text)
                case Media():
                    drawing = draw_signal(decode(part)) if drawn < _DRAWN_MEDIA else None
                    drawn += 1
                    yield Piece(turn.role, "" if drawing else f"[{part.modality}]", drawing)
                case Target():
                    yield Piece(turn.role, str(part.value))
