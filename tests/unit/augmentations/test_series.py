from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.augmentations.config import FlipConfig, JitterConfig, ScalingConfig, TSMixConfig, WindowMaskConfig
from modrwkv_core.augmentations.series import Flip, Jitter, Scaling, TSMix, WindowMask
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.augmentation import LabeledSignal
from modrwkv_core.interfaces.signals import TimeSeries

SEEDS = st.integers(0, 2**32)


def walk(points: int, channels: int = 1, seed: int = 0) -> TimeSeries:
    return TimeSeries(np.random.default_rng(seed).normal(size=(points, channels)).cumsum(axis=0).astype(np.float32))


def none() -> None:
    return None


@given(seed=SEEDS, sigma=st.floats(0.01, 1.0), scale=st.floats(0.01, 1000.0))
def test_jitter_is_measured_in_deviations_of_the_channel(seed: int, sigma: float, scale: float) -> None:
    signal = TimeSeries(walk(4000, 2).values * np.asarray([1.0, scale], np.float32))
    noise = Jitter(JitterConfig(sigma=sigma))(signal, np.random.default_rng(seed)).values - signal.values
    relative = noise.std(axis=0) / signal.values.std(axis=0)
    np.testing.assert_allclose(relative, sigma, rtol=0.1)
    assert abs(noise / signal.values.std(axis=0)).max() < 7 * sigma


def test_flip_turns_series_and_targets_upside_down_and_keeps_the_spread() -> None:
    signal = TimeSeries(walk(50, 2).values, np.asarray([3.0, 4.0], np.float32))
    flipped = Flip(FlipConfig())(LabeledSignal(signal, ([[1.0, -2.0]],)), np.random.default_rng(0), none)
    np.testing.assert_array_equal(flipped.signal.values, -signal.values)
    np.testing.assert_array_equal(flipped.signal.spread, signal.spread)
    np.testing.assert_array_equal(flipped.targets[0], [[-1.0, 2.0]])


@given(seed=SEEDS, sigma=st.floats(0.01, 1.0))
def test_scaling_scales_series_and_targets_alike(seed: int, sigma: float) -> None:
    signal = TimeSeries(walk(50, 2).values, np.asarray([3.0, 4.0], np.float32))
    target = [[1.0, -2.0], [3.0, 4.0]]
    scaled = Scaling(ScalingConfig(sigma=sigma))(LabeledSignal(signal, (target,)), np.random.default_rng(seed), none)
    factors = np.asarray(scaled.targets[0])[0] / target[0]
    assert (factors > 0).all()
    np.testing.assert_allclose(scaled.signal.values, signal.values * factors, rtol=1e-6)
    np.testing.assert_allclose(scaled.signal.spread, [3.0, 4.0] * factors, rtol=1e-6)
    np.testing.assert_allclose(scaled.targets[0], np.asarray(target) * factors)


def test_factors_of_scaling_are_log_normal() -> None:
    scaling = Scaling(ScalingConfig(sigma=0.3))
    rng = np.random.default_rng(0)
    sample = LabeledSignal(TimeSeries(np.ones((1, 1), np.float32)))
    logs = np.log([scaling(sample, rng, none).signal.values[0, 0] for _ in range(4000)])
    assert abs(logs.mean()) < 0.02
    assert logs.std() == pytest.approx(0.3, rel=0.05)


@given(seed=SEEDS, alpha=st.floats(0.5, 5.0), scale=st.floats(0.1, 100.0))
def test_tsmix_mixes_series_and_targets_with_the_same_weights(seed: int, alpha: float, scale: float) -> None:
    first, second = walk(30, seed=1), TimeSeries(walk(30, seed=2).values * np.float32(scale))
    targets = np.asarray([[5.0], [6.0]]), np.asarray([[7.0], [-8.0]]) * scale
    mix = TSMix(TSMixConfig(series=2, alpha=alpha))
    mixed = mix(
        LabeledSignal(first, (targets[0].tolist(),)),
        np.random.default_rng(seed),
        lambda: LabeledSignal(second, (targets[1].tolist(),)),
    )
    unit = [float(np.abs(each.values.astype(np.float64)).mean()) for each in (first, second)]
    parts = [each.values.astype(np.float64) * unit[0] / own for each, own in zip((first, second), unit, strict=True)]
    # The weight is found by least squares on the series, and must then explain the target.
    difference = parts[0] - parts[1]
    weight = float(((mixed.signal.values - parts[1]) * difference).sum() / (difference**2).sum())
    assert -1e-6 <= weight <= 1 + 1e-6
    np.testing.assert_allclose(mixed.signal.values, weight * parts[0] + (1 - weight) * parts[1], atol=1e-4)
    expected = weight * targets[0] + (1 - weight) * targets[1] * unit[0] / unit[1]
    np.testing.assert_allclose(mixed.targets[0], expected, atol=1e-3)


@pytest.mark.parametrize(
    "other",
    [
        None,
        LabeledSignal(walk(31), ([1.0],)),
        LabeledSignal(walk(30, 2), ([[1.0, 2.0]],)),
        LabeledSignal(walk(30), ()),
        LabeledSignal(walk(30), ([1.0, 2.0],)),
    ],
)
def test_tsmix_leaves_out_what_has_another_shape(other: LabeledSignal[TimeSeries] | None) -> None:
    sample = LabeledSignal(walk(30), ([4.0],))
    mixed = TSMix(TSMixConfig())(sample, np.random.default_rng(0), lambda: other)
    np.testing.assert_allclose(mixed.signal.values, sample.signal.values, rtol=1e-6)
    np.testing.assert_allclose(mixed.targets[0], [[4.0]])


@given(seed=SEEDS, points=st.integers(1, 200), windows=st.integers(1, 4), share=st.floats(0.01, 1.0))
def test_window_mask_replaces_windows_by_the_mean(seed: int, points: int, windows: int, share: float) -> None:
    signal = TimeSeries(walk(points, 2).values + np.float32(50.0))
    mask = WindowMask(WindowMaskConfig(windows=windows, max_share=share))
    masked = mask(signal, np.random.default_rng(seed)).values
    changed = (masked != signal.values).any(axis=1)
    np.testing.assert_allclose(masked[changed], np.tile(signal.values.mean(axis=0), (changed.sum(), 1)), rtol=1e-5)
    assert changed.sum() <= windows * max(int(share * points), 1)
    runs = np.diff(np.concatenate([[0], changed.astype(int), [0]]))
    assert (runs == 1).sum() <= windows


@pytest.mark.parametrize("target", [[[1.0, 2.0]], [[1.0], [2.0, 3.0]], "calm", 4.0, None])
@pytest.mark.parametrize("augmentation", [Flip(FlipConfig()), Scaling(ScalingConfig()), TSMix(TSMixConfig())])
def test_targets_that_are_no_continuation_are_refused(target: Any, augmentation: Any) -> None:
    with pytest.raises(DataError, match="a target"):
        augmentation(LabeledSignal(walk(9), (target,)), np.random.default_rng(0), none)
