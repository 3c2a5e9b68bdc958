"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from modrwkv_core.evaluation.plots import Drawing, draw_forecast, draw_losses, draw_signal
from modrwkv_core.evaluation.results import in_words, margin, margin_in_words
from modrwkv_core.files import write_text
from modrwkv_core.interfaces.record import Media, Target, Text, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.task import Example, Result

__all__ = ["write_report"]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of a conversation on the page: words, or a drawing."""

    role: str
    text: str = ""
    drawing: Drawing | None = None


@dataclass(frozen=True, slots=True)
class _Card:
    """An example on the page: what was asked, and answered with words or with a drawn forecast."""

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
class _Examination:
    """A task on the page."""

    result: Result
    margin: float | None
    margin_in_words: str
    bars: list[_Bar]
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
        decode: Makes a signal of a medium, by its modality. Signals other than pictures, waveforms and series are
            listed by the name of their modality.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["score"] = lambda value, metric: in_words(metric, value)
    template = environment.from_string(
        resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        title=title,
        summary=summary,
        losses=draw_losses(metrics),
        evaluations=[_examination(result, decode) for result in results],
    )
    write_text(path, page)


def _examination(result: Result, decode: Callable[[Media], Any]) -> _Examination:
    methods = {"model": result.score, **result.baselines}
    longest = max((score for score in methods.values() if np.isfinite(score)), default=0.0)
    bars = [
        _Bar(name, in_words(result.metric, score), 100 * score / longest if longest > 0 and np.isfinite(score) else 0.0)
        for name, score in methods.items()
    ]
    cards = [_card(example, decode) for example in result.examples]
    return _Examination(result, margin(result), margin_in_words(result), bars, cards)


def _card(example: Example, decode: Callable[[Media], Any]) -> _Card:
    *before, last = example.record.turns
    key, forecast = example.record.key, _forecast(example, decode)
    asked = [piece for turn in before for piece in _pieces(turn, decode)]
    if forecast is not None:
        return _Card(key, [piece for piece in asked if piece.text], "", "", None, forecast)
    truth = "".join(piece.text for piece in _pieces(last, decode))
    return _Card(key, asked, str(example.prediction), truth, example.correct, None)


def _forecast(example: Example, decode: Callable[[Media], Any]) -> Drawing | None:
    """Draw the example's forecast; None if it asks for something else."""
    media = [part for turn in example.record.turns for part in turn.parts if isinstance(part, Media)]
    answer = example.record.turns[-1].parts[-1]
    if not media or not isinstance(answer, Target) or not isinstance(example.prediction, np.ndarray):
        return None
    past, truth = decode(media[-1]), decode(Media(media[-1].modality, answer.value))
    if not isinstance(past, TimeSeries):
        return None
    return draw_forecast(past.values, truth.values, example.prediction)


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
