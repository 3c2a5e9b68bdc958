from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import CoverageConfig, WeightedQuantileLossConfig
from modrwkv_core.evaluation.quantile_metrics import Coverage, WeightedQuantileLoss
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.testing import MetricContract
from modrwkv_core.testing.metric import score

WQL = WeightedQuantileLoss(WeightedQuantileLossConfig())
COVERAGE = Coverage(CoverageConfig())
ONES = np.ones((2, 1))


def around(center: float, width: float) -> Forecast:
    return Forecast(center * ONES, {0.1: (center - width) * ONES, 0.5: center * ONES, 0.9: (center + width) * ONES})


class QuantileContract(MetricContract):
    plugin = "modrwkv_core.builtin"

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [(around(1.0, 0.5), ONES), (around(2.0, 0.5), 2.2 * ONES), (ONES, ONES)]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [(around(3.0, 0.5), ONES), (around(2.0, 0.1), 2.2 * ONES), (2 * ONES, ONES)]


class TestWeightedQuantileLoss(QuantileContract):
    name = "wql"


class TestCoverage(QuantileContract):
    name = "coverage"


del QuantileContract  # pytest would collect it


@given(st.integers(0, 2**31), st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True))
def test_wql_is_the_mean_pinball_loss_by_the_mean_absolute_value(seed: int, percents: list[int]) -> None:
    rng = np.random.default_rng(seed)
    truths = rng.normal(size=(3, 5, 2))
    levels = [percent / 100 for percent in sorted(percents)]
    quantiles = np.sort(rng.normal(size=(len(levels), 3, 5, 2)), axis=0)
    samples = [
        (Forecast(quantiles[0, index], dict(zip(levels, quantiles[:, index], strict=True))), truths[index])
        for index in range(3)
    ]
    pinball = [
        mean_pinball_loss(truths.ravel(), values.ravel(), alpha=level)
        for level, values in zip(levels, quantiles, strict=True)
    ]
    assert score(WQL, *samples) == pytest.approx(2 * np.mean(pinball) / np.abs(truths).mean())


def test_points_are_a_distribution_without_width() -> None:
    truth = np.array([[2.0], [-4.0]])
    points, wide = np.zeros((2, 1)), np.array([[2.0], [1.0]])
    assert score(WQL, (points, truth)) == pytest.approx(1.0)
    assert score(WQL, (Forecast(points, dict.fromkeys((0.1, 0.5, 0.9), points)), truth)) == pytest.approx(1.0)
    assert score(COVERAGE, (points, truth), (wide, truth)) == 0.25


def test_nothing_to_measure_by() -> None:
    zeros = np.zeros((2, 1))
    assert score(WQL, (zeros, zeros)) == 0.0
    assert score(WQL, (ONES, zeros)) == float("inf")


def test_coverage_counts_the_values_between_two_quantiles() -> None:
    truth = np.array([[0.5], [1.6]])
    assert score(COVERAGE, (around(1.0, 0.5), truth)) == 0.5
    assert score(COVERAGE, (around(1.0, 0.6), truth), (around(9.0, 0.5), truth)) == 0.5
    half = Coverage(CoverageConfig(lower=0.5, upper=0.9))
    assert score(half, (around(1.0, 1.0), truth)) == 0.5
    assert (COVERAGE.name, half.name) == ("coverage_80", "coverage_40")
    assert COVERAGE.format(0.5) == "50.0 % of 80 %"


def test_a_forecast_without_the_interval_is_refused() -> None:
    narrow = Coverage(CoverageConfig(lower=0.25, upper=0.75))
    with pytest.raises(ComponentError, match=r"has no quantiles 0.25 and 0.75") as caught:
        score(narrow, (around(1.0, 1.0), ONES))
    assert caught.value.hint == "set `lower` and `upper` to two of 0.1, 0.5, 0.9"
    with pytest.raises(ComponentError, match="numbers of one shape"):
        score(COVERAGE, ("rises", ONES))
    with pytest.raises(ValueError, match="`lower` must be below `upper`"):
        CoverageConfig(lower=0.9, upper=0.1)
