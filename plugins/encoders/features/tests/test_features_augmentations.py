from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_features.augmentations import TimeMask, TimeStretch
from modrwkv_features.config import TimeMaskConfig, TimeStretchConfig
from pydantic import ValidationError

from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.testing import AugmentationContract


class TestTimeStretch(AugmentationContract):
    plugin = "modrwkv_features.plugin"
    name = "time_stretch"
    configs = ({}, {"min_rate": 0.25, "max_rate": 0.5})


class TestTimeMask(AugmentationContract):
    plugin = "modrwkv_features.plugin"
    name = "time_mask"
    configs = ({"masks": 8, "max_share": 1.0, "width": 1000},)


@given(frames=st.integers(1, 60), rate=st.floats(0.25, 4.0))
def test_a_straight_line_stays_one(frames: int, rate: float) -> None:
    line = np.linspace(-1.0, 5.0, frames, dtype=np.float32)[:, None]
    stretch = TimeStretch(TimeStretchConfig(min_rate=rate, max_rate=rate))
    values = stretch(FeatureFrames(line), np.random.default_rng(0)).values
    assert len(values) == max(round(frames / rate), 1)
    if frames > 1 and len(values) > 1:
        np.testing.assert_allclose(values[:, 0], np.linspace(-1.0, 5.0, len(values)), atol=1e-5)


def test_masked_frames_are_the_mean_and_few_enough() -> None:
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    mask = TimeMask(TimeMaskConfig(masks=2, width=15, max_share=0.1))
    counts = set()
    for seed in range(50):
        changed = mask(FeatureFrames(values), np.random.default_rng(seed)).values
        masked = (changed == values.mean(0)).all(1)
        np.testing.assert_array_equal(changed[~masked], values[~masked])
        counts.add(int(masked.sum()))
    assert max(counts) <= 20
    assert len(counts) > 5


def test_rates_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_rate is 1\.1, above max_rate"):
        TimeStretchConfig(min_rate=1.1, max_rate=0.9)
