from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_conv1d.compressor import Conv1dCompressor
from modrwkv_conv1d.config import Conv1dConfig
from pydantic import ValidationError

from modrwkv_core.interfaces.values import Features


def features(*lengths: int, dim: int = 6) -> Features:
    values = torch.randn(len(lengths), max(lengths), dim, generator=torch.Generator().manual_seed(0))
    return Features(values, torch.tensor(lengths)).with_values(values)


@pytest.mark.parametrize(
    ("kernel", "stride", "clip", "siglip2"), [(3, 2, 288, 287), (4, 3, 192, 191), (5, 4, 144, 143)]
)
def test_lengths_are_those_of_the_paper(kernel: int, stride: int, clip: int, siglip2: int) -> None:
    config = Conv1dConfig(kernel=kernel, stride=stride)
    assert (config.out_length(577), config.out_length(576)) == (clip, siglip2)


@given(length=st.integers(1, 80), kernel=st.integers(1, 20), stride=st.integers(1, 20), padding=st.integers(0, 19))
def test_length_counts_the_places_of_the_kernel(length: int, kernel: int, stride: int, padding: int) -> None:
    padding = min(padding, kernel - 1)
    starts = [start for start in range(-padding, length, stride) if start + kernel <= length + padding]
    assert Conv1dConfig(kernel=kernel, stride=stride, padding=padding).out_length(length) == len(starts)


def test_no_features_give_no_outputs_even_with_padding() -> None:
    assert Conv1dConfig(kernel=3, stride=2, padding=2).out_length(0) == 0


@pytest.mark.parametrize("padding", [0, 2])
def test_forward_is_the_weighted_sum_under_the_kernel(padding: int) -> None:
    compressor = Conv1dCompressor(Conv1dConfig(kernel=3, stride=2, padding=padding, channels=4), in_dim=6).double()
    given = features(9)
    x_LD = np.pad(given.values[0].double().numpy(), ((padding, padding), (0, 0)))
    weight_EDK = compressor.conv.weight.detach().numpy()
    expected = [
        [(weight_EDK[e] * x_LD[start : start + 3].T).sum() for e in range(4)] for start in range(0, len(x_LD) - 2, 2)
    ]
    actual = compressor(Features(given.values.double(), given.lengths))
    np.testing.assert_allclose(actual.values[0].detach().numpy(), expected, rtol=0, atol=1e-12)


def test_a_bias_is_added_to_every_output_and_padding_stays_zero() -> None:
    torch.manual_seed(0)
    biased = Conv1dCompressor(Conv1dConfig(bias=True), in_dim=6)
    plain = Conv1dCompressor(Conv1dConfig(), in_dim=6)
    plain.conv.weight.data.copy_(biased.conv.weight)
    given = features(4, 11)
    assert torch.equal(biased(given).values, plain(given).values), "it begins at zero"
    torch.nn.init.constant_(biased.conv.bias, 0.5)
    out = biased(given)
    torch.testing.assert_close(out.values, (plain(given).values + 0.5) * out.mask()[..., None])


@pytest.mark.parametrize("padding", [0, 2])
def test_what_lies_behind_an_item_weighs_nothing(padding: int) -> None:
    compressor = Conv1dCompressor(Conv1dConfig(kernel=5, stride=2, padding=padding), in_dim=6)
    together = features(4, 11, 7)
    garbage = Features(together.values.masked_fill(~together.mask()[..., None], 1e6), together.lengths)
    torch.testing.assert_close(compressor(garbage).values, compressor(together).values)


def test_items_too_short_for_a_kernel_have_no_outputs() -> None:
    compressor = Conv1dCompressor(Conv1dConfig(kernel=16, stride=16), in_dim=6)
    assert compressor(features(15, 33, 16)).lengths.tolist() == [0, 2, 1]
    alone = compressor(features(15))
    assert alone.values.shape == (1, 0, 6)
    assert alone.lengths.tolist() == [0]


@pytest.mark.parametrize("kernel", [3, 16])
def test_outputs_begin_at_the_scale_of_the_inputs(kernel: int) -> None:
    torch.manual_seed(0)
    compressor = Conv1dCompressor(Conv1dConfig(kernel=kernel, stride=2), in_dim=128)
    assert compressor(features(400, dim=128)).values.square().mean().sqrt().item() == pytest.approx(1.0, rel=0.1)


def test_padding_as_wide_as_the_kernel_is_refused() -> None:
    with pytest.raises(ValidationError, match="padding 3 must be smaller than kernel 3"):
        Conv1dConfig(kernel=3, padding=3)
