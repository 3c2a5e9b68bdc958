from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_features.config import FeaturesConfig
from modrwkv_features.encoder import FeaturesEncoder
from modrwkv_features.processor import FeaturesProcessor
from pydantic import ValidationError

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.interfaces.values import MediaItem


def frames(count: int, dims: int = 3) -> FeatureFrames:
    rng = np.random.default_rng(count)
    return FeatureFrames(rng.normal([5.0, -300.0, 0.0], [0.1, 40.0, 1.0], (count, dims)).astype(np.float32))


def test_each_dim_of_an_item_gets_mean_0_and_deviation_1() -> None:
    values = frames(200).values.copy()
    values[:, 2] = 7.0
    processed = FeaturesProcessor(FeaturesConfig(in_dim=3, normalize=True))(FeatureFrames(values)).tensors["values"]
    torch.testing.assert_close(processed.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(processed.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=0)


def test_features_are_taken_as_they_are_by_default() -> None:
    item = FeaturesProcessor(FeaturesConfig(in_dim=3))(frames(20))
    np.testing.assert_array_equal(item.tensors["values"].numpy(), frames(20).values)
    assert item.length == 20


@given(length=st.integers(1, 100), subsampling=st.sampled_from([1, 2, 4, 8]))
def test_lengths_round_up(length: int, subsampling: int) -> None:
    assert FeaturesConfig(in_dim=1, subsampling=subsampling).out_length(length) == int(np.ceil(length / subsampling))


def test_without_subsampling_a_feature_depends_on_its_frame_only() -> None:
    config = FeaturesConfig(in_dim=3, hidden_size=8)
    encoder, processor = FeaturesEncoder(config), FeaturesProcessor(config)
    whole = encoder([processor(frames(10))]).values[0]
    expected = torch.nn.functional.layer_norm(
        torch.from_numpy(frames(10).values) @ encoder.embed.weight.T + encoder.embed.bias, (8,)
    )
    torch.testing.assert_close(whole, expected)


@pytest.mark.parametrize(("subsampling", "reach"), [(2, 1), (4, 3), (8, 7)])
def test_a_feature_sees_the_frames_around_its_place(subsampling: int, reach: int) -> None:
    encoder = FeaturesEncoder(FeaturesConfig(in_dim=3, hidden_size=8, subsampling=subsampling))
    values = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    place = 32 // subsampling
    encoder([MediaItem({"values": values}, 64)]).values[0, place].pow(2).sum().backward()
    assert values.grad is not None
    seen = values.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert seen == list(range(32 - reach, 32 + reach + 1))


def test_another_subsampling_is_refused() -> None:
    with pytest.raises(ValidationError, match="subsampling"):
        FeaturesConfig.model_validate({"in_dim": 3, "subsampling": 3})


def test_another_number_of_dims_is_refused() -> None:
    with pytest.raises(DataError, match=r"a frame has 3 dims, the encoder reads 4"):
        FeaturesProcessor(FeaturesConfig(in_dim=4))(frames(5))
