"""Metrics of forecasts with quantiles. A forecast of points only counts as a distribution without width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import CoverageConfig, WeightedQuantileLossConfig
from modrwkv_core.evaluation.metrics import comparable
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.metric import Metric

__all__ = ["Coverage", "WeightedQuantileLoss"]


class WeightedQuantileLoss(Metric[WeightedQuantileLossConfig]):
    """Pinball loss relative to the absolute true values, as GluonTS, Chronos and the Monash archive report it.

    Source: Park et al., AISTATS 2022; Ansari et al., Chronos, TMLR 2024.
    """

    higher_is_better = False

    def __init__(self, config: WeightedQuantileLossConfig) -> None:
        super().__init__(config)
        self._loss = self._scale = 0.0

    def update(self, prediction: Any, truth: Any) -> None:
        """Compare a forecast with the true continuation."""
        points, true = comparable(prediction, truth, self.config.type)
        quantiles = _quantiles(prediction) or {0.5: points}
        losses = [
            2 * float((np.where(true >= values, level, level - 1) * (true - values)).sum())
            for level, values in quantiles.items()
        ]
        self._loss += float(np.mean(losses))
        self._scale += float(np.abs(true).sum())

    def compute(self) -> float:
        """Return the loss in units of the mean absolute true value; infinite if all of them are 0."""
        if self._scale == 0:
            return 0.0 if self._loss == 0 else inf
        return self._loss / self._scale


class Coverage(Metric[CoverageConfig]):
    """Share of true values in the interval between two quantiles, its ends included."""

    higher_is_better = None

    def __init__(self, config: CoverageConfig) -> None:
        super().__init__(config)
        self._covered = self._count = 0

    @property
    def name(self) -> str:
        """Name the share that the interval should hold."""
        return f"coverage_{self._nominal}"

    def update(self, prediction: Any, truth: Any) -> None:
        """Compare a forecast with the true continuation.

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
        self._covered += int(covered.sum())
        self._count += true.size

    def compute(self) -> float:
        """Return the share, from 0 to 1."""
        return self._covered / self._count

    def format(self, score: float) -> str:
        """Write the share beside the one that the interval should hold, in per cent."""
        return f"{100 * score:.1f} % of {self._nominal} %"

    def bar(self, score: float, scores: Sequence[float]) -> float:
        """Let a full bar stand for all values."""
        return score

    @property
    def _nominal(self) -> str:
        return f"{100 * (self.config.upper - self.config.lower):.4g}"


def _quantiles(prediction: Any) -> Mapping[float, NDArray[Any]]:
    return prediction.quantiles if isinstance(prediction, Forecast) else {}
