from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_rel

from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.bootstrap import confidence_interval, resample, two_sided_p
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, MeanSquaredErrorConfig
from modrwkv_core.evaluation.metrics import MeanSquaredError

MSE = MeanSquaredError(MeanSquaredErrorConfig())


def test_intervals_are_those_of_scipy() -> None:
    rng = np.random.default_rng(1)
    errors = rng.gamma(2.0, size=200)
    rows = np.stack([errors, np.ones(200)], axis=1)
    found = confidence_interval(MSE, rows)
    judged = bootstrap((errors,), np.mean, n_resamples=1000, method="percentile", rng=rng).confidence_interval
    assert found == pytest.approx((judged.low, judged.high), abs=0.05)
    assert found == confidence_interval(MSE, rows), "the seed is fixed"


def test_a_share_of_all_or_nothing_has_a_point_as_its_interval() -> None:
    rows = np.array([[1.0, 1.0]] * 5)
    assert confidence_interval(ExactMatch(ExactMatchMetricConfig()), rows) == (1.0, 1.0)


def test_one_sample_or_a_diverged_model_has_no_interval() -> None:
    assert confidence_interval(MSE, np.array([[1.0, 1.0]])) is None
    assert confidence_interval(MSE, np.array([[1.0, 1.0], [np.nan, 1.0]])) is None


def test_calls_of_one_size_draw_the_same_samples() -> None:
    rows = np.arange(10.0)[:, None]
    once = resample(rows, lambda sums: sums[0], 50)
    np.testing.assert_array_equal(2 * once, resample(2 * rows, lambda sums: sums[0], 50))


def test_chunks_do_not_change_how_many_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(10.0)[:, None]
    monkeypatch.setattr("modrwkv_core.evaluation.bootstrap._CHUNK", 30)
    assert resample(rows, lambda sums: (sums[0], -sums[0]), 50).shape == (50, 2)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
def test_p_values_are_near_those_of_a_paired_t_test(shift: float) -> None:
    rng = np.random.default_rng(3)
    first = rng.normal(size=300)
    second = first + rng.normal(shift, 1.5, size=300)
    differences = resample((second - first)[:, None], lambda sums: sums[0] / 300, 10_000)
    assert two_sided_p(differences) == pytest.approx(ttest_rel(second, first).pvalue, abs=0.03)


def test_p_values_are_never_0_nor_above_1() -> None:
    assert two_sided_p(np.ones(999)) == pytest.approx(0.002)
    assert two_sided_p(np.zeros(999)) == 1.0
