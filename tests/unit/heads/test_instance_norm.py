from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.heads.instance_norm import InstanceNorm
from modrwkv_core.interfaces.signals import TimeSeries

WAVE = (np.sin(np.arange(40.0) / 3)[:, None] * [1.0, 250.0] + [4.0, -70.0]).astype(np.float32)


@pytest.mark.parametrize("origin", ["mean", "last"])
def test_statistics_are_those_of_the_context(origin: str) -> None:
    statistics = InstanceNorm(2, origin, 0.2).statistics([TimeSeries(WAVE), TimeSeries(WAVE[:7])])
    for row, values in enumerate((WAVE, WAVE[:7])):
        expected = np.mean(values, axis=0, dtype=np.float64) if origin == "mean" else values[-1]
        np.testing.assert_allclose(statistics.location[row, 0], expected, rtol=1e-6)
        np.testing.assert_allclose(statistics.scale[row, 0], np.std(values, axis=0, dtype=np.float64), rtol=1e-6)


@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-50.0, 50.0))
def test_there_and_back_at_any_scale(scale: float, shift: float) -> None:
    values = ((WAVE + shift) * scale).astype(np.float32)
    statistics = InstanceNorm(2, "mean", 0.2).statistics([TimeSeries(values)])
    normalized = statistics.normalize(torch.from_numpy(values)[None])
    np.testing.assert_allclose(normalized.std((0, 1), unbiased=False), 1.0, rtol=1e-4)
    np.testing.assert_allclose(statistics.denormalize(normalized)[0], values, rtol=1e-5, atol=1e-5 * scale * 250)


@pytest.mark.parametrize("constant", [0.0, 30.531, -1e20, 1e-20])
def test_a_constant_has_no_unit_and_is_continued_exactly(constant: float) -> None:
    context = np.full((20, 1), constant, dtype=np.float32)
    statistics = InstanceNorm(1, "mean", 0.2).statistics([TimeSeries(context)])
    assert statistics.constant.all()
    assert (statistics.denormalize(torch.randn(1, 5, 1)) == context[0, 0].item()).all()
    assert statistics.normalize(torch.from_numpy(context)[None]).abs().max() == 0


def test_learned_scale_and_shift_are_saved() -> None:
    norm = InstanceNorm(2, "mean", 0.2)
    assert set(norm.state_dict()) == {"gain", "bias"}
    with torch.no_grad():
        norm.gain.copy_(torch.tensor([2.0, 3.0]))
        norm.bias.copy_(torch.tensor([10.0, 20.0]))
    assert norm(torch.ones(1, 1, 2)).tolist() == [[[12.0, 23.0]]]


@given(
    scale=st.floats(1e-6, 1e6),
    noise=st.floats(0.0, 1.0),
    spread=st.floats(0.1, 10.0),
    floor=st.sampled_from([0.0, 0.3]),
)
def test_the_unit_is_the_deviation_and_at_least_a_share_of_the_spread(
    scale: float, noise: float, spread: float, floor: float
) -> None:
    values = 5.0 + noise * WAVE[:, :1]
    norm = InstanceNorm(1, "mean", floor)
    [unit, scaled] = norm.statistics(
        [
            TimeSeries((values * factor).astype(np.float32), np.array([spread * factor], np.float32))
            for factor in (1.0, scale)
        ]
    ).scale.flatten()
    assert unit.item() == pytest.approx(max(np.std(values), floor * spread), rel=1e-4, abs=1e-4)
    assert scaled.item() == pytest.approx(unit.item() * scale, rel=1e-3, abs=1e-5 * scale)


def test_a_constant_window_of_a_series_that_varies_has_a_unit() -> None:
    flat = np.full((20, 1), 5.0, np.float32)
    varied, still = (TimeSeries(flat, np.array([spread], np.float32)) for spread in (2.0, 0.0))
    statistics = InstanceNorm(1, "mean", 0.25).statistics([varied, still])
    assert statistics.scale.flatten().tolist() == [0.5, 0.0]
    assert statistics.constant.flatten().tolist() == [False, True]
