"""The predictions of an evaluation, sample by sample: ``predictions.jsonl`` in a run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydantic_core
from numpy.typing import NDArray

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.forecast import Continuation, Forecast
from modrwkv_core.interfaces.result import Result, SampleResult
from modrwkv_core.storage.files import atomic_write

__all__ = ["PREDICTIONS", "SampleLine", "read_predictions", "write_predictions"]

PREDICTIONS: Final = "predictions.jsonl"
"""The file in a run's folder."""

_DIGITS: Final = 6
"""Significant digits of numbers in arrays."""


@dataclass(frozen=True, slots=True)
class SampleLine:
    """What the file says of a sample.

    Attributes:
        key: The record's.
        truth: The true value, as JSON has it.
        statistics: By the name of each additive metric, what the sample adds to its sums.
    """

    key: str
    truth: Any
    statistics: Mapping[str, tuple[float, ...]]


def write_predictions(path: Path, results: Sequence[Result]) -> None:
    """Write a line for each sample of each task; the file appears whole or not at all.

    Arrays become lists, a forecast its ``points`` and ``quantiles``, numbers in them with six digits unless they are
    beyond 1e-17 or 1e27. Statistics that are not finite become the words ``NaN`` and ``Infinity``.

    Raises:
        WriteError: The file cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        for result in results:
            for sample in result.samples:
                file.write(_line(result.task, sample) + b"\n")


def _line(task: str, sample: SampleResult) -> bytes:
    content = {
        "task": task,
        "key": sample.key,
        "group": sample.group,
        "prediction": _plain(sample.prediction),
        "truth": _plain(sample.truth),
        "correct": sample.correct,
        "statistics": sample.statistics,
    }
    return pydantic_core.to_json(content, inf_nan_mode="strings", fallback=str)


def _plain(value: Any) -> Any:
    match value:
        case Forecast(points, quantiles):
            return {"points": _plain(points), "quantiles": {str(level): _plain(q) for level, q in quantiles.items()}}
        case Continuation():
            return _plain(value.values)
        case np.ndarray() if value.dtype.kind == "f":
            return _rounded(value.astype(np.float64)).tolist()
        case np.ndarray():
            return value.tolist()
        case np.floating():
            return float(f"{value:.{_DIGITS}g}")
        case np.integer():
            return int(value)
        case _:
            return value


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round each number to the digits that are kept; what is not finite stays."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        places = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        # Powers of ten up to 22 are exact, so that the quotient is the number nearest to the decimal one.
        up, down = 10.0 ** np.clip(places, 0, 22), 10.0 ** np.clip(-places, 0, 22)
        rounded = np.round(values * up / down) / up * down
    usual = np.isfinite(values) & (np.abs(places) <= 22)
    return np.where(usual, rounded, values)


def read_predictions(path: Path) -> dict[str, list[SampleLine]]:
    """Return the samples of each task, in order.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    tasks: dict[str, list[SampleLine]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                task, sample = _sample(line, path, number)
                tasks.setdefault(task, []).append(sample)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: it has not been evaluated",
            hint=f"run `modrwkv evaluate {path.parent}`",
        ) from error
    return tasks


def _sample(line: str, path: Path, number: int) -> tuple[str, SampleLine]:
    try:
        found = json.loads(line)
        statistics = {name: tuple(map(float, values)) for name, values in found["statistics"].items()}
        return str(found["task"]), SampleLine(found["key"], found["truth"], statistics)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}:{number} is damaged: {error}", hint=f"evaluate again: modrwkv evaluate {path.parent}"
        ) from error
