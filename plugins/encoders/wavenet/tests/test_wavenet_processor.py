from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_wavenet.config import WaveNetConfig
from modrwkv_wavenet.processor import WaveNetProcessor
from numpy.typing import ArrayLike, NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import TimeSeries


def series(values: ArrayLike) -> TimeSeries:
    array = np.asarray(values, dtype=np.float32)
    return TimeSeries(array.reshape(len(array), -1))


def processed(values: ArrayLike, **settings: object) -> NDArray[np.float32]:
    return WaveNetProcessor(WaveNetConfig.model_validate(settings))(series(values)).tensors["values"].numpy()


def test_each_channel_gets_mean_0_and_deviation_1() -> None:
    values = np.random.default_rng(0).normal([5.0, -300.0], [0.1, 40.0], (128, 2))
    result = processed(values, channels=2)
    np.testing.assert_allclose(result.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(result.std(axis=0), 1.0, atol=1e-6)


@given(scale=st.floats(1e-8, 1e8), shift=st.floats(-100.0, 100.0))
def test_units_do_not_matter(scale: float, shift: float) -> None:
    values = np.sin(np.arange(50.0))
    np.testing.assert_allclose(processed((values + shift) * scale), processed(values), atol=2e-4)


@pytest.mark.parametrize("constant", [0.0, 30.531, -1e20, 1e-20])
def test_a_constant_becomes_zeros(constant: float) -> None:
    assert processed([constant] * 30).tolist() == [[0.0]] * 30


def test_values_pass_unchanged_without_normalization() -> None:
    assert processed([3.0, 4.0, 5.5], normalize=False).tolist() == [[3.0], [4.0], [5.5]]


def test_length_is_the_number_of_points() -> None:
    assert WaveNetProcessor(WaveNetConfig())(series(range(17))).length == 17


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "has 1 points, the encoder needs at least 2"),
        ([[1.0, 2.0], [3.0, 4.0]], "has 2 channels, the encoder reads 1"),
        ([1.0, 2.0, float("nan")], "holds nan at point 2 of channel 0"),
        ([1.0, float("-inf"), 2.0], "holds -inf at point 1 of channel 0"),
    ],
)
def test_series_that_cannot_be_read_are_refused(values: ArrayLike, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        processed(values)
    assert caught.value.hint
