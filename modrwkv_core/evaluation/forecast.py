"""The forecast task: squared and absolute errors of continued series.

Legend of shape suffixes: P points of the context, H points of the horizon, C columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import ForecastTaskConfig
from modrwkv_core.evaluation.sampling import batches, draw
from modrwkv_core.interfaces.record import Media, Record, Target
from modrwkv_core.interfaces.task import Example, Predictor, Records, Result, Task
from modrwkv_core.modalities.series import SeriesModality

__all__ = ["ForecastTask"]


_Method = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class ForecastTask(Task[ForecastTaskConfig]):
    """Continues the last series of each record and compares it with the record's answer.

    Errors are averaged over windows, steps and columns, in the units of the records; every window counts, the last
    incomplete batch too. Baselines: the last point repeated; the last season repeated, where ``period`` is set;
    the mean of the baseline data, where there is one.
    """

    def run(self, model: Predictor, progress: Callable[[int, int], None]) -> Result:
        """Ask for the continuation of every record."""
        shape = _window(self.data[0]).truth.shape
        trivial = self._baselines(shape)
        errors = {name: _Errors() for name in ("model", *trivial)}
        shown = set(draw(len(self.data), self.config.examples))
        examples: list[Example] = []
        done = 0
        for records in batches(self.data, self.config.batch):
            windows = [self._checked(record, shape) for record in records]
            forecasts = model.forecast_all([window.past for window in windows], shape[0])
            for record, window, forecast_HC in zip(records, windows, forecasts, strict=True):
                errors["model"].add(forecast_HC, window.truth)
                for name, method in trivial.items():
                    errors[name].add(method(window.past), window.truth)
                if done in shown:
                    examples.append(Example(record, forecast_HC, None))
                done += 1
            progress(done, len(self.data))
        return Result(
            task=self.name,
            metric="mse",
            score=errors["model"].mse,
            higher_is_better=False,
            baselines={name: errors[name].mse for name in trivial},
            count=done,
            details={f"{name}, mae": error.mae for name, error in errors.items()},
            examples=examples,
        )

    def _baselines(self, shape: tuple[int, ...]) -> dict[str, _Method]:
        """Return name to method; a method continues a context ``[P, C]`` to ``[H, C]``, which is ``shape``."""
        methods: dict[str, _Method] = {"repeat last": lambda past_PC: np.broadcast_to(past_PC[-1], shape)}
        if (period := self.config.period) is not None:
            methods["repeat last season"] = lambda past_PC: np.resize(past_PC[-period:], shape)
        if self.baseline_data is not None:
            mean_C = self._mean(self.baseline_data, shape)
            methods["training mean"] = lambda past_PC: np.broadcast_to(mean_C, shape)
        return methods

    def _mean(self, baseline_data: Records, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Mean of all points of the contexts ``[C]``."""
        total_C = np.zeros(shape[1])
        count = 0
        for index in range(len(baseline_data)):
            past_PC = self._checked(baseline_data[index], shape).past
            total_C += past_PC.sum(axis=0, dtype=np.float64)
            count += len(past_PC)
        return (total_C / count).astype(np.float32)

    def _checked(self, record: Record, shape: tuple[int, ...]) -> _Window:
        """Take a record apart that must ask for the continuation ``shape``."""
        window = _window(record)
        if window.truth.shape != shape:
            raise _error(
                record,
                f"asks for {window.truth.shape[0]} points of {window.truth.shape[1]} columns where the first "
                f"record asks for {shape[0]} points of {shape[1]}",
            )
        if self.config.period is not None and len(window.past) < self.config.period:
            raise _error(
                record, f"has a context of {len(window.past)} points; the task's period is {self.config.period}"
            )
        return window


@dataclass(frozen=True, slots=True)
class _Window:
    """A record taken apart: the context ``[P, C]`` and its true continuation ``[H, C]``."""

    past: NDArray[np.float32]
    truth: NDArray[np.float32]


def _window(record: Record) -> _Window:
    parts = [part for turn in record.turns for part in turn.parts]
    media = [part.media for part in parts if isinstance(part, Media)]
    last = parts[-1] if parts else None
    if not media or not isinstance(last, Target) or last.head != "forecast" or last.value is None:
        raise _error(record, "has no series followed, at its end, by the true answer of the head 'forecast'")
    past_PC, truth_HC = (SeriesModality().decode(series).values for series in (media[-1], last.value))
    if past_PC.shape[1] != truth_HC.shape[1]:
        raise _error(record, f"has a series of {past_PC.shape[1]} columns and a continuation of {truth_HC.shape[1]}")
    return _Window(past_PC, truth_HC)


def _error(record: Record, complaint: str) -> DataError:
    return DataError(f"{record.key} {complaint}", component="task/forecast")


class _Errors:
    """Running sums of a method's errors, in float64."""

    def __init__(self) -> None:
        self._squared = 0.0
        self._absolute = 0.0
        self._count = 0

    def add(self, forecast_HC: NDArray[np.float32], truth_HC: NDArray[np.float32]) -> None:
        assert forecast_HC.shape == truth_HC.shape
        error_HC = forecast_HC.astype(np.float64) - truth_HC
        self._squared += float(np.square(error_HC).sum())
        self._absolute += float(np.abs(error_HC).sum())
        self._count += error_HC.size

    @property
    def mse(self) -> float:
        return self._squared / self._count

    @property
    def mae(self) -> float:
        return self._absolute / self._count
