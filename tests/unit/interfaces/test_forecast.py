from __future__ import annotations

import numpy as np
import pytest

from modrwkv_core.interfaces.forecast import Forecast

POINTS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_a_forecast_counts_as_its_points() -> None:
    forecast = Forecast(POINTS, {0.1: POINTS - 1, 0.5: POINTS, 0.9: POINTS + 1})
    np.testing.assert_array_equal(np.asarray(forecast), POINTS)
    assert np.asarray(forecast, dtype=np.float64).dtype == np.float64
    assert np.stack([forecast, forecast]).shape == (2, 3, 2)
    assert list(forecast.quantiles) == [0.1, 0.5, 0.9]


@pytest.mark.parametrize("levels", [[0.5, 0.1], [0.0], [0.5, 1.0], [float("nan")]])
def test_levels_ascend_between_0_and_1(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="do not ascend between 0 and 1"):
        Forecast(POINTS, dict.fromkeys(levels, POINTS))


def test_quantiles_have_the_shape_of_the_points() -> None:
    with pytest.raises(ValueError, match=r"quantile 0.9 has the shape \(2, 2\), the points \(3, 2\)"):
        Forecast(POINTS, {0.1: POINTS, 0.9: POINTS[:2]})
