from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import RBF, DotProduct, ExpSineSquared, Kernel, RationalQuadratic

from modrwkv_core.data.sources.config import SyntheticSeriesConfig
from modrwkv_core.data.sources.synthetic_series import (
    SyntheticSeriesSource,
    _waves,
    linear,
    periodic,
    rational_quadratic,
    rbf,
)

POINTS = np.arange(0.0, 60.0, 3.0)


@pytest.mark.parametrize(
    ("drawn", "judge"),
    [
        ([rbf(9.0)], RBF(9.0)),
        ([rational_quadratic(7.0, 0.5)], RationalQuadratic(7.0, 0.5)),
        ([periodic(24.0, 0.8)], ExpSineSquared(0.8, 24.0)),
        ([periodic(24.0, 1.5), rbf(40.0)], ExpSineSquared(1.5, 24.0) * RBF(40.0)),
    ],
)
def test_processes_have_the_covariance_of_their_kernels(drawn: list, judge: Kernel) -> None:
    rng = np.random.default_rng(0)
    factor = linear(POINTS, 20.0, 10.0)
    series = np.stack([_waves(60, drawn, rng)[::3] for _ in range(4000)])
    expected = judge(POINTS[:, None])
    np.testing.assert_allclose(series.T @ series / len(series), expected, atol=0.08)
    trended = DotProduct(0.0)((POINTS[:, None] - 20.0) / 10.0) * expected
    np.testing.assert_allclose((factor * series).T @ (factor * series) / len(series), trended, atol=0.08 * 16)


def values(**settings: object) -> NDArray[np.float32]:
    source = SyntheticSeriesSource(
        SyntheticSeriesConfig.model_validate({"context_length": 200, "horizon": 40} | settings)
    )
    turns = [source[index].turns for index in range(len(source))]
    return np.stack([np.concatenate([user.parts[0].media.values, answer.parts[0].value]) for user, answer in turns])


def test_series_depend_on_the_seed_and_their_index_alone() -> None:
    first = values(count=6)
    np.testing.assert_array_equal(first[:4], values(count=4))
    assert first.shape == (6, 240, 1)
    assert np.isfinite(first).all()
    assert len({series.tobytes() for series in (*first, *values(count=6, seed=1))}) == 12


def test_a_season_comes_back() -> None:
    series = values(count=60, max_kernels=1, max_noise=0.0, periods=[24])[:, :, 0]
    seasonal = np.isclose(series[:, 24:], series[:, :-24], atol=1e-4).all(axis=1) & (series.std(axis=1) > 0.1)
    assert 10 < seasonal.sum() < 40
