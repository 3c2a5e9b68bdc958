"""The filters hear the tone that each of them stands for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_wavlm.filters import gabor_filters

RATE = 8000


@given(st.floats(300.0, 3300.0))
def test_the_loudest_band_is_one_of_the_two_around_the_tone(hertz: float) -> None:
    bands = 24
    filters = gabor_filters(2 * bands, 256, RATE)
    tone = torch.cos(2 * torch.pi * hertz * torch.arange(256) / RATE)
    energy = (filters[:bands] @ tone) ** 2 + (filters[bands:] @ tone) ** 2
    low, high = (2595.0 * torch.log10(torch.tensor(1.0 + edge / 700.0)) for edge in (60.0, 0.475 * RATE))
    mel = 2595.0 * torch.log10(torch.tensor(1.0 + hertz / 700.0))
    nearest = float((mel - low) / (high - low)) * (bands - 1)
    # Not always the nearer one: the window's spectrum has zeros between the bands.
    assert abs(int(energy.argmax()) - nearest) < 1.0


@pytest.mark.parametrize("count", [1, 7, 64])
def test_filters_have_unit_norm(count: int) -> None:
    filters = gabor_filters(count, 128, RATE)
    assert filters.shape == (count, 128)
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(count))
