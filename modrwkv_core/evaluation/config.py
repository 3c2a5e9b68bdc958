"""Configurations of the built-in tasks and metrics. Never imports torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import MetricConfig, Metrics, TaskConfig

__all__ = [
    "CoverageConfig",
    "ExactMatchConfig",
    "ExactMatchMetricConfig",
    "ForecastTaskConfig",
    "MeanAbsoluteErrorConfig",
    "MeanSquaredErrorConfig",
    "WeightedQuantileLossConfig",
]


class ExactMatchMetricConfig(MetricConfig):
    """Share of texts that equal the true ones, up to letter case and surrounding space."""

    type: Literal["exact_match"] = "exact_match"


class MeanSquaredErrorConfig(MetricConfig):
    """Squared error of arrays, averaged over all their elements, in squared units of the data."""

    type: Literal["mse"] = "mse"


class MeanAbsoluteErrorConfig(MetricConfig):
    """Absolute error of arrays, averaged over all their elements, in units of the data."""

    type: Literal["mae"] = "mae"


class WeightedQuantileLossConfig(MetricConfig):
    """Pinball loss of a forecast's quantiles: twice its sum, averaged over levels, by the sum of absolute true values.

    It approximates the continuous ranked probability score. A forecast of points only is a distribution without width:
    its loss is the absolute error.
    """

    type: Literal["wql"] = "wql"


class CoverageConfig(MetricConfig):
    """Share of true values that lie between two quantiles of the forecast.

    The best share is the difference of their levels; neither a larger nor a smaller one is better. A forecast of points
    only is an interval without width.
    """

    type: Literal["coverage"] = "coverage"

    lower: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Level of the lower quantile."""

    upper: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Level of the upper quantile."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.lower >= self.upper:
            raise ValueError("`lower` must be below `upper`")
        return self


class ExactMatchConfig(TaskConfig):
    """Asks all but the last turn of each record; the text of the last turn is the true answer.

    ``baseline_data`` gives the questions and answers from which the baselines learn. Without it they learn from the
    held-out answers themselves, which makes them better than they could honestly be.
    """

    type: Literal["exact_match"] = "exact_match"

    metrics: Metrics = (ExactMatchMetricConfig(),)
    """What answers are scored by, the most important first."""

    max_tokens: int = Field(default=32, ge=1)
    """Longest answer, in tokens."""


class ForecastTaskConfig(TaskConfig):
    """Asks for the continuation of the latest series of each record; the target at its end is the true one.

    ``baseline_data`` gives the windows whose mean, column by column, is one of the baseline forecasts.
    """

    type: Literal["forecast"] = "forecast"

    metrics: Metrics = (MeanSquaredErrorConfig(), MeanAbsoluteErrorConfig())
    """What forecasts are scored by, the most important first; forecasts with quantiles also by `wql` and `coverage`."""

    period: int | None = Field(default=None, ge=1)
    """Points of a season, for the baseline forecast that repeats the last one; null leaves that forecast out."""

    examples: int = Field(default=4, ge=0)
    """Samples that the report shows, drawn at random with a fixed seed."""
