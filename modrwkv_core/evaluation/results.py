"""Results as words, as a table, and as a file for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic_core

from modrwkv_core.files import write_text
from modrwkv_core.interfaces.record import Media, Part, Target, Text, Turn
from modrwkv_core.interfaces.task import Result

__all__ = ["as_json", "best_floor", "in_words", "margin", "margin_in_words", "questions", "table", "write_results"]


def best_floor(result: Result) -> str | None:
    """Name the best of the baselines; None if there is none."""
    if not result.baselines:
        return None
    best = max if result.higher_is_better else min
    return best(result.baselines, key=result.baselines.__getitem__)


def margin(result: Result) -> float | None:
    """Say how much better than the best baseline the model is; negative if it is worse."""
    best = best_floor(result)
    if best is None:
        return None
    gain = result.score - result.baselines[best]
    return gain if result.higher_is_better else -gain


def in_words(metric: str, value: float) -> str:
    """Write a score: accuracies in per cent, anything else with four digits."""
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.4g}"


def margin_in_words(result: Result) -> str:
    """Write the margin with its sign: accuracies in percentage points."""
    lead = margin(result)
    if lead is None:
        return ""
    return f"{100 * lead:+.1f} points" if result.metric == "accuracy" else f"{lead:+.4g}"


def table(results: Sequence[Result]) -> str:
    """Lay the scores out for a terminal, one line for each task."""
    rows = [("task", "records", "metric", "model", "margin", "baselines")]
    for result in results:
        baselines = (f"{name} {in_words(result.metric, score)}" for name, score in result.baselines.items())
        metric = result.metric if result.higher_is_better else f"{result.metric} (lower is better)"
        score = in_words(result.metric, result.score)
        rows.append((result.task, str(result.count), metric, score, margin_in_words(result), ", ".join(baselines)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def questions(result: Result) -> str:
    """Write a task's examples for a terminal: the question, the model's answer, and the truth where it was wrong."""
    lines = []
    for example in result.examples:
        *asked, truth = example.record.turns
        if any(isinstance(part, Target) for part in truth.parts):
            continue
        right = "" if example.correct else f"   (true: {_spoken(truth)})"
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
            return f"[{head}]"


def as_json(run: str, results: Sequence[Result]) -> str:
    """Write the scores for programs: metrics that are not finite become null."""
    tasks: dict[str, Any] = {
        result.task: {
            "metric": result.metric,
            "score": result.score,
            "higher_is_better": result.higher_is_better,
            "count": result.count,
            "baselines": result.baselines,
            "best_floor": best_floor(result),
            "margin": margin(result),
            "details": result.details,
        }
        for result in results
    }
    return pydantic_core.to_json({"run": run, "tasks": tasks}, indent=2, inf_nan_mode="null").decode()


def write_results(path: Path, run: str, results: Sequence[Result]) -> None:
    """Write :func:`as_json` to a file, which appears whole or not at all."""
    write_text(path, as_json(run, results) + "\n")
