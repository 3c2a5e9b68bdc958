"""Errors of arrays."""

from __future__ import annotations

from abc import abstractmethod
from math import nan
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import (
    MeanAbsoluteErrorConfig,
    MeanAbsoluteScaledErrorConfig,
    MeanSquaredErrorConfig,
)
from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.forecast import Continuation
from modrwkv_core.interfaces.metric import AdditiveMetric

__all__ = ["MeanAbsoluteError", "MeanAbsoluteScaledError", "MeanSquaredError", "comparable"]

ErrorConfigT = TypeVar("ErrorConfigT", bound=MetricConfig)


def comparable(prediction: Any, truth: Any, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two values as arrays of one shape.

    Raises:
        ComponentError: They are not numbers of one shape; it names the metric.
    """
    predicted, true = np.asarray(prediction), np.asarray(truth)
    numeric = all(np.issubdtype(array.dtype, np.number) for array in (predicted, true))
    if not numeric or predicted.shape != true.shape:
        raise ComponentError(
            f"errors are taken of numbers of one shape, not {predicted.dtype} {list(predicted.shape)} and "
            f"{true.dtype} {list(true.shape)}",
            component=f"metric/{metric}",
            hint="choose other `metrics` for the task",
        )
    return predicted.astype(np.float64), true.astype(np.float64)


class _MeanError(AdditiveMetric[ErrorConfigT], Generic[ErrorConfigT]):
    """Mean over all elements of all arrays, whatever their shapes."""

    higher_is_better = False

    @staticmethod
    @abstractmethod
    def _errors(difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the error of each element."""

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, int]:
        """Return the sum of the errors of two arrays of one shape, or of two numbers, and the number of elements."""
        predicted, true = comparable(prediction, truth, self.config.type)
        return float(self._errors(predicted - true).sum()), true.size

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the mean."""
        return float(sums[0] / sums[1])


class MeanSquaredError(_MeanError[MeanSquaredErrorConfig]):
    """Mean squared error."""

    @staticmethod
    def _errors(difference: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.square(difference)


class MeanAbsoluteError(_MeanError[MeanAbsoluteErrorConfig]):
    """Mean absolute error."""

    @staticmethod
    def _errors(difference: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(difference)


class MeanAbsoluteScaledError(AdditiveMetric[MeanAbsoluteScaledErrorConfig]):
    """Mean absolute error of each sample by the mean absolute seasonal difference of its series.

    Source: Hyndman & Koehler, Another look at measures of forecast accuracy, International Journal of Forecasting 22,
    2006; as GluonTS takes it, sample by sample.
    """

    higher_is_better = False

    @property
    def name(self) -> str:
        """Name the period, unless it is 1."""
        return "mase" if self.config.period == 1 else f"mase_{self.config.period}"

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, int]:
        """Return the scaled error of a forecast, and 1; twice 0 if each column of its series repeats itself.

        Raises:
            ComponentError: The truth tells no series, or one that is too short.
        """
        predicted, true = comparable(prediction, truth, self.config.type)
        if not isinstance(truth, Continuation) or len(truth.past) <= self.config.period:
            raise ComponentError(
                f"a scaled error of period {self.config.period} needs the series before the forecast, of more points "
                "than the period",
                component=f"metric/{self.config.type}",
                hint="use it with the task `forecast`, with a `period` below the context length",
            )
        past = truth.past.astype(np.float64)
        scales = np.abs(past[self.config.period :] - past[: -self.config.period]).mean(axis=0)
        usable = scales > 0
        if not usable.any():
            return 0.0, 0
        return float((np.abs(predicted - true).mean(axis=0)[usable] / scales[usable]).sum()), int(usable.sum())

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the mean over the columns of all samples; NaN if all series repeat themselves."""
        return float(sums[0] / sums[1]) if sums[1] else nan
