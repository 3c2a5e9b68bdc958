"""The Metric interface: a number that says how good predictions are, and how it is written and drawn.

An :class:`AdditiveMetric` is a function of sums over samples, as nearly all metrics are. Evaluations then also give its
confidence interval, and runs are compared by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.interfaces.config import MetricConfig
from modrwkv_core.interfaces.guard import Origin

__all__ = ["AdditiveMetric", "Metric"]

MetricConfigT = TypeVar("MetricConfigT", bound=MetricConfig)


class Metric(ABC, Generic[MetricConfigT]):
    """Scores predictions against true values, one sample at a time.

    Tables, reports and model cards know nothing else of a metric than what its methods say.

    Attributes:
        higher_is_better: Direction of the score; None if the best score is neither the highest nor the lowest.
        unit: Written after a score.
        origin: Who provides it, for errors; the core sets it.
    """

    higher_is_better: bool | None
    unit: ClassVar[str] = ""
    origin: Origin | None = None

    def __init__(self, config: MetricConfigT) -> None:
        self.config = config

    @property
    def name(self) -> str:
        """What tables and files call it; a metric with settings that matter puts them into its name."""
        return self.config.type

    def new(self) -> Self:
        """Return a metric of the same settings that has seen no sample."""
        return type(self)(self.config)

    @abstractmethod
    def update(self, prediction: Any, truth: Any) -> None:
        """Take in one sample.

        Args:
            prediction: What the model or a baseline predicted, in the form of the task.
            truth: What it should have predicted.

        Raises:
            ComponentError: The metric cannot compare them.
        """

    @abstractmethod
    def compute(self) -> float:
        """Return the score of all samples so far, at least one."""

    def correct(self, prediction: Any, truth: Any) -> bool | None:
        """Say whether one prediction is right; None where that is a matter of degree."""
        return None

    def format(self, score: float) -> str:
        """Write a score, with its unit."""
        return _with_unit(f"{score:.4g}", self.unit)

    def format_difference(self, difference: float) -> str:
        """Write a difference of two scores, with its sign and unit."""
        return _with_unit(f"{difference:+.4g}", self.unit)

    def bar(self, score: float, scores: Sequence[float]) -> float:
        """Return the length of a score's bar in a chart of ``scores``, from 0 to 1; by default the largest fills it."""
        longest = max((abs(other) for other in scores if np.isfinite(other)), default=0.0)
        return abs(score) / longest if longest > 0 and np.isfinite(score) else 0.0


class AdditiveMetric(Metric[MetricConfigT], Generic[MetricConfigT]):
    """A metric that is a function of sums over samples: a mean, a ratio of sums, an F1 score.

    A subclass says what each sample adds and what the sums score.
    """

    def __init__(self, config: MetricConfigT) -> None:
        super().__init__(config)
        self._rows: list[Sequence[float]] = []

    @abstractmethod
    def statistics(self, prediction: Any, truth: Any) -> Sequence[float]:
        """Return what one sample adds to the sums, always the same number of values; see :meth:`update`."""

    @abstractmethod
    def score(self, sums: NDArray[np.float64]) -> float:
        """Score the sums ``[values]`` of the statistics of some samples."""

    @property
    def rows(self) -> NDArray[np.float64]:
        """The statistics of all samples so far, in order: ``[samples, values]``."""
        return np.array(self._rows, dtype=np.float64)

    @property
    def latest(self) -> tuple[float, ...]:
        """The statistics of the latest sample."""
        return tuple(map(float, self._rows[-1]))

    def update(self, prediction: Any, truth: Any) -> None:
        """Take in one sample."""
        self._rows.append(self.statistics(prediction, truth))

    def compute(self) -> float:
        """Return the score of all samples so far, at least one."""
        return self.score(self.rows.sum(axis=0))


def _with_unit(number: str, unit: str) -> str:
    return f"{number} {unit}" if unit else number
