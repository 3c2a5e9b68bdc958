"""Results as a table, as words, and as a file for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydantic_core

from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Media, Part, Target, Text, Turn
from modrwkv_core.interfaces.result import Result, Score
from modrwkv_core.storage.files import write_text

__all__ = ["RESULTS", "as_json", "format_interval", "format_margin", "questions", "table", "write_results"]

RESULTS: Final = "results.json"
"""The file in a run's folder."""


def format_margin(score: Score) -> str:
    """Write the margin with its sign; empty without a baseline."""
    return "" if score.margin is None else score.metric.format_difference(score.margin)


def format_interval(score: Score) -> str:
    """Write the ends of the confidence interval; empty without one."""
    return "" if score.interval is None else " to ".join(map(score.metric.format, score.interval))


def table(results: Sequence[Result]) -> str:
    """Lay the scores out for a terminal, one line for each metric of each task."""
    rows = [("task", "samples", "metric", "model", "95 % interval", "margin", "baselines")]
    for result in results:
        for index, score in enumerate(result.scores):
            metric = score.metric
            name = f"{metric.name} (lower is better)" if metric.higher_is_better is False else metric.name
            baselines = ", ".join(f"{method} {metric.format(value)}" for method, value in score.baselines.items())
            of = (result.task, str(result.count)) if index == 0 else ("", "")
            found = (metric.format(score.model), format_interval(score), format_margin(score))
            rows.append((*of, name, *found, baselines))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def questions(result: Result) -> str:
    """Write a task's examples for a terminal: the question, the prediction, and the truth unless it was right."""
    lines = []
    for example in result.examples:
        if isinstance(example.prediction, np.ndarray | Forecast | LogLikelihood):
            continue
        *asked, _ = example.record.turns
        right = "" if example.correct else f"   (true: {example.truth})"
        lines.append(f"  {' / '.join(map(_spoken, asked))} -> {example.prediction}{right}")
    return "\n".join([f"{result.task}:", *lines]) if lines else ""


def _spoken(turn: Turn) -> str:
    return " ".join(_word(part) for part in turn.parts)


def _word(part: Part) -> str:
    match part:
        case Text(text):
            return text
        case Media(modality=modality):
            return f"[{modality}]"
        case Target(head=head):
            return f"[{head or 'target'}]"


def as_json(run: str, results: Sequence[Result]) -> str:
    """Write the scores for programs; scores that are not finite become null.

    Each score also stands as its metric writes it, under ``text``, for readers without the metric's plugin.
    """
    tasks = {
        result.task: {
            "count": result.count,
            "metrics": _scores(result.scores),
            "groups": {group: _scores(scores) for group, scores in result.groups.items()},
        }
        for result in results
    }
    return pydantic_core.to_json({"run": run, "tasks": tasks}, indent=2, inf_nan_mode="null").decode()


def _scores(scores: Sequence[Score]) -> dict[str, Any]:
    return {
        score.metric.name: {
            "score": score.model,
            "interval": score.interval,
            "higher_is_better": score.metric.higher_is_better,
            "unit": score.metric.unit,
            "baselines": score.baselines,
            "best_baseline": score.best_baseline,
            "margin": score.margin,
            "config": score.metric.config.model_dump(mode="json"),
            "text": {method: score.metric.format(value) for method, value in score.methods.items()},
        }
        for score in scores
    }


def write_results(path: Path, run: str, results: Sequence[Result]) -> None:
    """Write :func:`as_json` to a file, which appears whole or not at all."""
    write_text(path, as_json(run, results) + "\n")
