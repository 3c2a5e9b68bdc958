"""Metrics of forecasts with quantiles. A forecast of points only counts as a distribution without width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import (
    ContinuousRankedProbabilityScoreConfig,
    CoverageConfig,
    WeightedQuantileLossConfig,
)
from modrwkv_core.evaluation.metrics import comparable
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.metric import AdditiveMetric

__all__ = ["ContinuousRankedProbabilityScore", "Coverage", "WeightedQuantileLoss"]


class WeightedQuantileLoss(AdditiveMetric[WeightedQuantileLossConfig]):
    """Pinball loss relative to the absolute true values, as GluonTS, Chronos and the Monash archive report it.

    Source: Park et al., AISTATS 2022; Ansari et al., Chronos, TMLR 2024.
    """

    higher_is_better = False

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, float]:
        """Return the loss of a forecast and the sum of the absolute true values."""
        loss, true = _pinball(prediction, truth, self.config.type)
        return loss, float(np.abs(true).sum())

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the loss in units of the mean absolute true value; infinite if all of them are 0."""
        loss, scale = sums
        if scale == 0:
            return 0.0 if loss == 0 else inf
        return float(loss / scale)


class ContinuousRankedProbabilityScore(AdditiveMetric[ContinuousRankedProbabilityScoreConfig]):
    """Twice the pinball loss, averaged over levels and elements, which approximates the score's integral over levels.

    Source: Gneiting & Raftery, Strictly Proper Scoring Rules, JASA 102, 2007; the quantile form: Laio & Tamea,
    Hydrology and Earth System Sciences 11, 2007.
    """

    higher_is_better = False

    def statistics(self, prediction: Any, truth: Any) -> tuple[float, int]:
        """Return the loss of a forecast and the number of its elements."""
        loss, true = _pinball(prediction, truth, self.config.type)
        return loss, true.size

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the score in units of the data."""
        return float(sums[0] / sums[1])


class Coverage(AdditiveMetric[CoverageConfig]):
    """Share of true values in the interval between two quantiles, its ends included."""

    higher_is_better = None

    @property
    def name(self) -> str:
        """Name the share that the interval should hold."""
        return f"coverage_{self._nominal}"

    def statistics(self, prediction: Any, truth: Any) -> tuple[int, int]:
        """Return the number of true values in the interval, and of all.

        Raises:
            ComponentError: The forecast has quantiles, but not the two of the interval.
        """
        points, true = comparable(prediction, truth, self.config.type)
        quantiles = _quantiles(prediction) or {self.config.lower: points, self.config.upper: points}
        if not {self.config.lower, self.config.upper} <= quantiles.keys():
            raise ComponentError(
                f"the forecast has no quantiles {self.config.lower} and {self.config.upper}",
                component="metric/coverage",
                hint=f"set `lower` and `upper` to two of {', '.join(map(str, quantiles))}",
            )
        covered = (quantiles[self.config.lower] <= true) & (true <= quantiles[self.config.upper])
        return int(covered.sum()), true.size

    def score(self, sums: NDArray[np.float64]) -> float:
        """Return the share, from 0 to 1."""
        return float(sums[0] / sums[1])

    def format(self, score: float) -> str:
        """Write the share beside the one that the interval should hold, in per cent."""
        return f"{100 * score:.1f} % of {self._nominal} %"

    def bar(self, score: float, scores: Sequence[float]) -> float:
        """Let a full bar stand for all values."""
        return score

    @property
    def _nominal(self) -> str:
        return f"{100 * (self.config.upper - self.config.lower):.4g}"


def _pinball(prediction: Any, truth: Any, metric: str) -> tuple[float, NDArray[np.float64]]:
    """Return twice the pinball loss of a forecast, averaged over levels and summed over elements, and the truth."""
    points, true = comparable(prediction, truth, metric)
    quantiles = _quantiles(prediction) or {0.5: points}
    losses = [
        2 * float((np.where(true >= values, level, level - 1) * (true - values)).sum())
        for level, values in quantiles.items()
    ]
    return float(np.mean(losses)), true


def _quantiles(prediction: Any) -> Mapping[float, NDArray[Any]]:
    return prediction.quantiles if isinstance(prediction, Forecast) else {}
