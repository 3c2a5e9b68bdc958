"""MASE and CRPS, with utilsforecast and the closed form of a normal distribution as judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from utilsforecast.losses import mase, mqloss

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import ContinuousRankedProbabilityScoreConfig, MeanAbsoluteScaledErrorConfig
from modrwkv_core.evaluation.metrics import MeanAbsoluteScaledError
from modrwkv_core.evaluation.quantile_metrics import ContinuousRankedProbabilityScore
from modrwkv_core.interfaces.forecast import Continuation, Forecast
from modrwkv_core.testing import MetricContract
from modrwkv_core.testing.metric import score

CRPS = ContinuousRankedProbabilityScore(ContinuousRankedProbabilityScoreConfig())
PAST = np.arange(8.0, dtype=np.float32)[:, None] ** 2


class TestMeanAbsoluteScaledError(MetricContract):
    plugin = "modrwkv_core.builtin"
    name = "mase"
    configs = ({}, {"period": 3})

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        truth = Continuation(np.ones((2, 1), np.float32), PAST)
        return [(np.ones((2, 1)), truth), (np.full((2, 1), 2.0), truth)]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        truth = Continuation(np.ones((2, 1), np.float32), PAST)
        return [(np.ones((2, 1)), truth), (np.full((2, 1), 3.0), truth)]


class TestContinuousRankedProbabilityScore(MetricContract):
    plugin = "modrwkv_core.builtin"
    name = "crps"

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        ones = np.ones((2, 1))
        return [(Forecast(ones, {0.1: 0.8 * ones, 0.5: ones, 0.9: 1.2 * ones}), ones), (ones, ones)]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        ones = np.ones((2, 1))
        return [(Forecast(ones, {0.1: 0.1 * ones, 0.5: ones, 0.9: 1.9 * ones}), ones), (ones, 2 * ones)]


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 3))
def test_mase_is_that_of_utilsforecast_over_windows_and_columns(seed: int, period: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    pasts, truths, said = (rng.normal(size=(3, points, columns)) for points in (9, 4, 4))
    samples = [(said[i], Continuation(truths[i], pasts[i])) for i in range(3)]
    names = [f"{window}/{column}" for window in range(3) for column in range(columns)]

    def frame(**values: Any) -> pd.DataFrame:
        long = {name: array.transpose(0, 2, 1).reshape(3 * columns, -1) for name, array in values.items()}
        points = next(iter(long.values())).shape[1]
        return pd.DataFrame(
            {
                "unique_id": np.repeat(names, points),
                "ds": np.tile(np.arange(points), len(names)),
                **{name: array.ravel() for name, array in long.items()},
            }
        )

    judged = mase(frame(y=truths, model=said), ["model"], seasonality=period, train_df=frame(y=pasts))
    found = score(MeanAbsoluteScaledError(MeanAbsoluteScaledErrorConfig(period=period)), *samples)
    assert found == pytest.approx(judged["model"].mean(), rel=1e-6)


def test_series_that_repeat_themselves_do_not_count() -> None:
    metric = MeanAbsoluteScaledError(MeanAbsoluteScaledErrorConfig(period=2))
    still, moving = np.tile([1.0, 2.0], 4)[:, None], np.arange(8.0)[:, None]
    both = Continuation(np.zeros((1, 2), np.float32), np.hstack([still, moving]).astype(np.float32))
    assert score(metric, (np.ones((1, 2)), both)) == pytest.approx(0.5)
    alone = Continuation(np.zeros((1, 1), np.float32), still.astype(np.float32))
    assert np.isnan(score(metric, (np.ones((1, 1)), alone)))
    assert metric.name == "mase_2"


@pytest.mark.parametrize("truth", [np.ones((2, 1)), Continuation(np.ones((2, 1), np.float32), PAST[:1])])
def test_a_scale_needs_a_series(truth: Any) -> None:
    with pytest.raises(ComponentError, match="needs the series before the forecast"):
        score(MeanAbsoluteScaledError(MeanAbsoluteScaledErrorConfig()), (np.ones((2, 1)), truth))


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_crps_is_twice_the_multi_quantile_loss_of_utilsforecast(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(6, 1))
    levels = [0.1, 0.25, 0.5, 0.75, 0.9]
    quantiles = dict(zip(levels, np.sort(rng.normal(size=(5, 6, 1)), axis=0), strict=True))
    columns = {f"m_{level}": values[:, 0] for level, values in quantiles.items()}
    frame = pd.DataFrame({"unique_id": "a", "ds": np.arange(6), "y": truth[:, 0], **columns})
    judged = mqloss(frame, {"m": list(columns)}, quantiles=np.array(levels))
    found = score(CRPS, (Forecast(quantiles[0.5], quantiles), truth))
    assert found == pytest.approx(2 * judged["m"].iloc[0])


@given(st.floats(-3, 3), st.floats(0.1, 3))
def test_crps_of_many_quantiles_is_the_closed_form(truth: float, scale: float) -> None:
    levels = (np.arange(999) + 0.5) / 999
    values = scale * norm.ppf(levels)
    quantiles = dict(zip(levels.tolist(), values[:, None, None], strict=True))
    z = truth / scale
    closed = scale * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    found = score(CRPS, (Forecast(np.zeros((1, 1)), quantiles), np.full((1, 1), truth)))
    assert found == pytest.approx(closed, abs=2e-3 * scale)


def test_crps_of_points_is_the_absolute_error() -> None:
    assert score(CRPS, (np.array([1.0, 4.0]), np.array([2.0, 2.0]))) == pytest.approx(1.5)
