from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, MeanAbsoluteErrorConfig, MeanSquaredErrorConfig
from modrwkv_core.evaluation.metrics import MeanAbsoluteError, MeanSquaredError
from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.testing import MetricContract

MATCH = ExactMatch(ExactMatchMetricConfig())
MSE = MeanSquaredError(MeanSquaredErrorConfig())
MAE = MeanAbsoluteError(MeanAbsoluteErrorConfig())


class TestExactMatch(MetricContract):
    plugin = "modrwkv_core.builtin"
    name = "exact_match"

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [("yes", "Yes"), ("no", "yes"), ("red", "red")]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [("yes", "Yes"), ("no", "yes"), ("blue", "red")]


class ErrorContract(MetricContract):
    plugin = "modrwkv_core.builtin"

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [(np.ones((2, 1)), np.zeros((2, 1))), (np.ones((3, 1)), np.ones((3, 1)))]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [(np.full((2, 1), -2.0), np.zeros((2, 1))), (np.ones((3, 1)), np.ones((3, 1)))]


class TestMeanSquaredError(ErrorContract):
    name = "mse"


class TestMeanAbsoluteError(ErrorContract):
    name = "mae"


del ErrorContract  # pytest would collect it


@pytest.mark.parametrize(
    ("said", "true", "right"),
    [
        (" Yes\n", "yes", True),
        ("STRASSE", "straße", True),
        ("yes.", "yes", False),
        ("yes yes", "yes", False),
        ("dark  red", "dark red", False),
        ("", "yes", False),
    ],
)
def test_only_case_and_surrounding_space_are_forgiven(said: str, true: str, right: bool) -> None:
    assert MATCH.correct(said, true) is right


def test_shares_are_written_in_per_cent_and_points() -> None:
    assert MATCH.format(0.9996) == "100.0 %"
    assert MATCH.format_difference(-0.25) == "-25.0 points"
    assert MATCH.bar(0.25, [0.25, 0.5]) == 0.25


@given(st.lists(st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=5), min_size=1, max_size=6))
def test_errors_are_averaged_over_all_elements(rows: list[list[float]]) -> None:
    squared, absolute = MSE.new(), MAE.new()
    for row in rows:
        for metric in (squared, absolute):
            metric.update(np.array(row), np.zeros(len(row)))
    everything = [value for row in rows for value in row]
    assert squared.compute() == pytest.approx(math.fsum(value**2 for value in everything) / len(everything))
    assert absolute.compute() == pytest.approx(math.fsum(map(abs, everything)) / len(everything))


def test_errors_are_written_with_four_digits() -> None:
    assert MSE.format(0.38337) == "0.3834"
    assert MSE.format(float("nan")) == "nan"
    assert [MSE.bar(score, [1.0, 4.0, float("nan")]) for score in (1.0, 4.0, float("nan"))] == [0.25, 1.0, 0.0]
    assert MSE.bar(0.0, [0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("metric", "prediction", "truth", "message"),
    [
        (MSE, np.zeros((2, 1)), np.zeros((1, 2)), r"float64 \[2, 1\] and float64 \[1, 2\]"),
        (MAE, "two", 2.0, "numbers of one shape"),
        (MATCH, 2, "two", "compares texts, not int and str"),
    ],
)
def test_what_cannot_be_compared_is_refused(metric: Metric[Any], prediction: Any, truth: Any, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        metric.new().update(prediction, truth)
