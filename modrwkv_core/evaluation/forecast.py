"""The forecast task: series whose continuations are known.

Legend of shape suffixes: P points of the context, H points of the horizon, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.config import CoverageConfig, ForecastTaskConfig, WeightedQuantileLossConfig
from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.forecast import Continuation, Forecast
from modrwkv_core.interfaces.record import Media, Record, Target
from modrwkv_core.interfaces.task import Predictor, Records, Task, TaskSample
from modrwkv_core.modalities.series import SeriesModality

__all__ = ["ForecastTask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(TaskSample):
    """A series with its true continuation, a :class:`~modrwkv_core.interfaces.forecast.Continuation`.

    Attributes:
        head: The head that the record's target names, if it names one.
    """

    head: str | None


class ForecastTask(Task[ForecastTaskConfig, Window]):
    """Asks for the continuation of the latest series of each record.

    All records ask one head for continuations of one shape. Baselines: the last point repeated; the last season
    repeated, where ``period`` is set; the mean of the baseline data, where there is one.

    Forecasts with quantiles are also scored by the weighted quantile loss and by the coverage of the widest interval.
    """

    def sample(self, record: Record) -> Window:
        """Take a record apart.

        Raises:
            DataError: It holds no series before a target at its end, or asks for something else than the first record.
        """
        window = _window(record)
        shape = self._first.truth.values.shape
        asked = window.truth.values.shape
        if asked != shape:
            raise _error(
                record,
                f"asks for {asked[0]} points of {asked[1]} columns where the first "
                f"record asks for {shape[0]} points of {shape[1]}",
            )
        if window.head != self._first.head:
            raise _error(record, f"asks the head {window.head}, the first record asks {self._first.head}")
        if self.config.period is not None and len(window.truth.past) < self.config.period:
            raise _error(
                record, f"has a context of {len(window.truth.past)} points; the task's period is {self.config.period}"
            )
        return window

    def predict(self, model: Predictor, samples: Sequence[Window]) -> list[Forecast]:
        """Let the model continue the series."""
        head = self.config.head if self.config.head is not None else self._first.head
        return model.forecast_all([window.prompt for window in samples], len(self._first.truth.values), head)

    def metrics(self, model: Predictor) -> Sequence[MetricConfig]:
        """Return the configured metrics, and those of quantiles if the head gives any."""
        [forecast] = self.predict(model, [self._first])
        levels = sorted(forecast.quantiles)
        if not levels:
            return self.config.metrics
        of_quantiles = (WeightedQuantileLossConfig(), CoverageConfig(lower=levels[0], upper=levels[-1]))
        configured = {metric.type for metric in self.config.metrics}
        return (*self.config.metrics, *(metric for metric in of_quantiles if metric.type not in configured))

    def baselines(self) -> Mapping[str, Callable[[Window], NDArray[np.float32]]]:
        """Return the baseline forecasts."""
        shape = self._first.truth.values.shape
        methods: dict[str, Callable[[Window], NDArray[np.float32]]] = {
            "repeat last": lambda window: np.broadcast_to(window.truth.past[-1], shape)
        }
        if (period := self.config.period) is not None:
            methods["repeat last season"] = lambda window: np.resize(window.truth.past[-period:], shape)
        if self.baseline_data is not None:
            mean_C = self._mean(self.baseline_data)
            methods["training mean"] = lambda window: np.broadcast_to(mean_C, shape)
        return methods

    @cached_property
    def _first(self) -> Window:
        return _window(self.data[0])

    def _mean(self, baseline_data: Records) -> NDArray[np.float32]:
        """Mean of all points of the contexts ``[C]``."""
        total_C = np.zeros(self._first.truth.values.shape[1])
        count = 0
        for index in range(len(baseline_data)):
            past_PC = self.sample(baseline_data[index]).truth.past
            total_C += past_PC.sum(axis=0, dtype=np.float64)
            count += len(past_PC)
        return (total_C / count).astype(np.float32)


def _window(record: Record) -> Window:
    parts = [part for turn in record.turns for part in turn.parts]
    series = [part.media for part in parts if isinstance(part, Media) and part.modality == "series"]
    last = parts[-1] if parts else None
    if not series or not isinstance(last, Target) or last.value is None:
        raise _error(record, "has no series followed, at its end, by a target with its true continuation")
    past_PC, truth_HC = (SeriesModality().decode(values).values for values in (series[-1], last.value))
    if past_PC.shape[1] != truth_HC.shape[1]:
        raise _error(record, f"has a series of {past_PC.shape[1]} columns and a continuation of {truth_HC.shape[1]}")
    truth = Continuation(values=truth_HC, past=past_PC)
    return Window(record=record, prompt=record.turns[:-1], truth=truth, head=last.head)


def _error(record: Record, complaint: str) -> DataError:
    return DataError(f"{record.key} {complaint}", component="task/forecast")
