from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_conformer.config import ConformerConfig, ConformerFeaturesConfig
from modrwkv_conformer.encoder import ConformerEncoder
from modrwkv_conformer.processor import FramesProcessor, LogMelProcessor
from pydantic import ValidationError
from torch import nn

from modrwkv_core.interfaces.signals import FeatureFrames, Waveform
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.testing import EncoderContract

SIZES = {"conv_dim": 4, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "intermediate_size": 24, "kernel": 5}


def recording(length: int, rate: int = 16_000) -> Waveform:
    return Waveform(np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32), rate)


def frames(count: int, dims: int) -> FeatureFrames:
    return FeatureFrames(np.random.default_rng(count).normal(3.0, 2.0, (count, dims)).astype(np.float32))


class TestConformer(EncoderContract):
    plugin = "modrwkv_conformer.plugin"
    name = "conformer"
    configs = (
        {**SIZES, "mel_bins": 20},
        {**SIZES, "mel_bins": 13, "rate": 8000, "subsampling": 8, "num_layers": 0},
    )

    def signals(self, config: ConformerConfig) -> list[Waveform]:
        return [recording(length) for length in (1, 159, 160, 161, 3000, 8001)] + [recording(3000, 44_100)]

    def bad_signals(self, config: ConformerConfig) -> list[Waveform]:
        return [Waveform(np.zeros(0, np.float32), 16_000)]


class TestConformerFeatures(EncoderContract):
    plugin = "modrwkv_conformer.plugin"
    name = "conformer_features"
    configs = ({**SIZES, "in_dim": 13}, {**SIZES, "in_dim": 1, "subsampling": 2, "normalize": False})

    def signals(self, config: ConformerFeaturesConfig) -> list[FeatureFrames]:
        constant = FeatureFrames(np.full((9, config.in_dim), 3.0, np.float32))
        return [frames(count, config.in_dim) for count in (1, 2, 3, 4, 5, 17, 40)] + [constant]

    def bad_signals(self, config: ConformerFeaturesConfig) -> list[FeatureFrames]:
        return [frames(20, config.in_dim + 1)]


@given(length=st.integers(1, 1000), subsampling=st.sampled_from([2, 4, 8]))
def test_lengths_round_up(length: int, subsampling: int) -> None:
    config = ConformerFeaturesConfig(in_dim=1, subsampling=subsampling)
    assert config.out_length(length) == int(np.ceil(length / subsampling))


@pytest.mark.parametrize(("frequency", "bins"), [(200.0, slice(0, 10)), (3700.0, slice(30, 40))])
def test_a_tone_is_seen_in_its_band(frequency: float, bins: slice) -> None:
    samples = 0.1 * np.sin(2 * np.pi * frequency * np.arange(8000) / 8000)
    processor = LogMelProcessor(ConformerConfig(rate=8000, mel_bins=40))
    mel = processor(Waveform(samples.astype(np.float32), 8000)).tensors["mel"]
    assert mel.shape == (40, 100)
    loudest = mel[:, 10:90].argmax(0)
    assert ((bins.start <= loudest) & (loudest < bins.stop)).all()


def test_loudness_does_not_matter() -> None:
    processor = LogMelProcessor(ConformerConfig())
    quiet, loud = recording(4000), Waveform(recording(4000).samples * 20, 16_000)
    torch.testing.assert_close(processor(quiet).tensors["mel"], processor(loud).tensors["mel"], atol=1e-4, rtol=0)


def test_each_dim_of_an_item_gets_mean_0_and_deviation_1() -> None:
    values = frames(200, 3).values.copy()
    values[:, 2] = 7.0
    mel = FramesProcessor(ConformerFeaturesConfig(in_dim=3))(FeatureFrames(values)).tensors["mel"]
    torch.testing.assert_close(mel.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(mel.std(1, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=0)


def test_a_feature_hears_all_of_its_item() -> None:
    """So it knows what follows, unlike the backbone behind it."""
    encoder = ConformerEncoder(ConformerFeaturesConfig(in_dim=3, **SIZES)).eval()
    mel = torch.randn(3, 80, generator=torch.Generator().manual_seed(0), requires_grad=True)
    encoder([MediaItem({"mel": mel}, 80)]).values[0, 0].pow(2).sum().backward()
    assert mel.grad is not None
    assert (mel.grad.abs().sum(0) > 0).all()


def test_a_convolution_tells_positions() -> None:
    """Without it, frames in another order would only give features in another order."""
    encoder = ConformerEncoder(ConformerFeaturesConfig(in_dim=3, **SIZES)).eval()
    mel = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    forward = encoder([MediaItem({"mel": mel}, 16)]).values[0]
    backward = encoder([MediaItem({"mel": mel.flip(1)}, 16)]).values[0]
    assert not torch.allclose(forward, backward.flip(0), atol=1e-3)


def test_attention_equals_that_of_torch() -> None:
    torch.manual_seed(0)
    attention = ConformerEncoder(ConformerFeaturesConfig(in_dim=3, **SIZES)).eval().layers[0].attention
    upstream = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    upstream.load_state_dict(
        {
            "in_proj_weight": attention.qkv.weight,
            "in_proj_bias": attention.qkv.bias,
            "out_proj.weight": attention.output.weight,
            "out_proj.bias": attention.output.bias,
        }
    )
    x, mask = torch.randn(2, 7, 16), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    normed = attention.norm(x)
    expected = upstream(normed, normed, normed, key_padding_mask=~mask)[0]
    torch.testing.assert_close(attention(x, mask), expected)


@pytest.mark.parametrize(("key", "value"), [("kernel", 4), ("num_heads", 3), ("subsampling", 3)])
def test_sizes_that_do_not_fit_are_refused(key: str, value: int) -> None:
    with pytest.raises(ValidationError, match=key):
        ConformerFeaturesConfig.model_validate({"in_dim": 3, **SIZES, key: value})
