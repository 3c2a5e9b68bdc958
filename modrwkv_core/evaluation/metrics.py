"""The built-in metrics: exact match of texts, errors of arrays."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import (
    ExactMatchMetricConfig,
    MeanAbsoluteErrorConfig,
    MeanSquaredErrorConfig,
)
from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.metric import Metric

__all__ = ["ExactMatch", "MeanAbsoluteError", "MeanSquaredError", "comparable"]

ErrorConfigT = TypeVar("ErrorConfigT", bound=MetricConfig)


class ExactMatch(Metric[ExactMatchMetricConfig]):
    """Share of texts that equal the true ones, up to letter case and surrounding space."""

    higher_is_better = True

    def __init__(self, config: ExactMatchMetricConfig) -> None:
        super().__init__(config)
        self._hits = self._count = 0

    def update(self, prediction: str, truth: str) -> None:
        """Compare two texts."""
        self._hits += self.correct(prediction, truth)
        self._count += 1

    def compute(self) -> float:
        """Return the share, from 0 to 1."""
        return self._hits / self._count

    def correct(self, prediction: str, truth: str) -> bool:
        """Say whether the texts are equal."""
        if not isinstance(prediction, str) or not isinstance(truth, str):
            raise ComponentError(
                f"exact match compares texts, not {type(prediction).__name__} and {type(truth).__name__}",
                component="metric/exact_match",
                hint="choose other `metrics` for the task",
            )
        return prediction.strip().casefold() == truth.strip().casefold()

    def format(self, score: float) -> str:
        """Write the share in per cent."""
        return f"{100 * score:.1f} %"

    def format_difference(self, difference: float) -> str:
        """Write a difference in percentage points."""
        return f"{100 * difference:+.1f} points"

    def bar(self, score: float, scores: Sequence[float]) -> float:
        """Let a full bar stand for all texts."""
        return score


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


class _MeanError(Metric[ErrorConfigT], Generic[ErrorConfigT]):
    """Mean over all elements of all arrays, whatever their shapes."""

    higher_is_better = False

    def __init__(self, config: ErrorConfigT) -> None:
        super().__init__(config)
        self._sum = 0.0
        self._count = 0

    @staticmethod
    @abstractmethod
    def _errors(difference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the error of each element."""

    def update(self, prediction: Any, truth: Any) -> None:
        """Compare two arrays of one shape, or two numbers."""
        predicted, true = comparable(prediction, truth, self.config.type)
        self._sum += float(self._errors(predicted - true).sum())
        self._count += true.size

    def compute(self) -> float:
        """Return the mean."""
        return self._sum / self._count


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
