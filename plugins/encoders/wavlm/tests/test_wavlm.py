from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_wavlm.config import WavLMConfig
from modrwkv_wavlm.encoder import WavLMEncoder
from modrwkv_wavlm.processor import WavLMProcessor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, WavLMForCTC, WavLMModel

from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.testing import EncoderContract

SIZES: dict[str, Any] = {
    "rate": 16_000,
    "normalize": True,
    "conv_dim": (12, 12, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "conv_bias": False,
    "conv_norm": "group",
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "intermediate_size": 40,
    "norm_first": False,
    "position_kernel": 8,
    "position_groups": 2,
    "buckets": 16,
    "max_distance": 20,
}
LARGE = {"conv_norm": "layer", "norm_first": True}
KINDS = [pytest.param({}, id="base"), pytest.param(LARGE, id="large")]


class TestWavLM(EncoderContract):
    plugin = "modrwkv_wavlm.plugin"
    name = "wavlm"
    configs = (
        {"init": "scratch", **SIZES},
        {"init": "scratch", **SIZES, **LARGE, "rate": 8000, "conv_bias": True, "first_filters": "gabor"},
    )
    unreached = frozenset(f"model.encoder.layers.{layer}.attention.k_proj.bias" for layer in range(2))
    """Softmax does not see what all keys share."""

    def signals(self, config: WavLMConfig) -> list[Waveform]:
        lengths = (800, 300, 800, config.min_length)
        recordings = [recording(length, config.rate, seed) for seed, length in enumerate(lengths)]
        return [*recordings, recording(1000, 44_100)]

    def bad_signals(self, config: WavLMConfig) -> list[Waveform]:
        return [recording(config.min_length - 1, config.rate), recording(1, config.rate)]


def upstream_config(conv_norm: str = "group", norm_first: bool = False) -> transformers.WavLMConfig:
    return transformers.WavLMConfig(
        conv_dim=(12, 12, 16),
        conv_kernel=(10, 3, 2),
        conv_stride=(5, 2, 2),
        feat_extract_norm=conv_norm,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        do_stable_layer_norm=norm_first,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        num_buckets=16,
        max_bucket_distance=20,
        vocab_size=8,
    )


def publish(model: transformers.PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return folder


def published_model(folder: Path, **kind: Any) -> WavLMModel:
    torch.manual_seed(1)
    model = WavLMModel(upstream_config(**kind)).eval()
    publish(model, folder)
    return model


def scratch(**sizes: Any) -> WavLMConfig:
    return WavLMConfig(init="scratch", **(SIZES | sizes))


def recording(samples: int, rate: int = 16_000, seed: int = 0) -> Waveform:
    return Waveform(np.random.default_rng(seed).normal(0.1, 0.3, samples).astype(np.float32), rate)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_and_weights_come_from_the_checkpoint(tmp_path: Path, kind: dict[str, Any]) -> None:
    model = published_model(tmp_path, **kind)
    config = WavLMConfig(checkpoint=str(tmp_path))
    assert {name: getattr(config, name) for name in SIZES} == SIZES | kind
    encoder = WavLMEncoder(config).eval()
    encoder.load_pretrained()
    for samples in (config.min_length, 333, 4000):
        item = WavLMProcessor(config)(recording(samples))
        with torch.no_grad():
            expected = model(item.tensors["samples"][None]).last_hidden_state
            features = encoder([item])
        assert torch.linalg.norm(features.values - expected) <= 1e-5 * torch.linalg.norm(expected)
        assert features.lengths.tolist() == [config.out_length(item.length)]


def test_the_layout_of_the_first_publication_loads(tmp_path: Path) -> None:
    model = published_model(tmp_path)
    tensors = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in model.state_dict().items()
    }
    assert "encoder.pos_conv_embed.conv.weight_g" in tensors
    assert "masked_spec_embed" in tensors
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    encoder = WavLMEncoder(WavLMConfig(checkpoint=str(tmp_path)))
    encoder.load_pretrained()
    expected = model.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in encoder.model.state_dict().items())


def test_a_fine_tuned_model_loads_without_its_head(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = WavLMForCTC(upstream_config())
    encoder = WavLMEncoder(WavLMConfig(checkpoint=str(publish(model, tmp_path))))
    encoder.load_pretrained()
    expected = model.wavlm.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in encoder.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "bundle"),
    [
        ("microsoft/wavlm-base", torchaudio.pipelines.WAVLM_BASE),
        ("microsoft/wavlm-base-plus", torchaudio.pipelines.WAVLM_BASE_PLUS),
        ("microsoft/wavlm-large", torchaudio.pipelines.WAVLM_LARGE),
    ],
)
def test_published_sizes_are_known_offline(name: str, bundle: Any) -> None:
    """They are those that torchaudio knows of the same models."""
    config, judge = WavLMConfig(checkpoint=name), bundle._params
    convolutions = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    assert [tuple(layer) for layer in judge["extractor_conv_layer_config"]] == convolutions
    assert judge["extractor_mode"] == f"{config.conv_norm}_norm"
    assert judge["extractor_conv_bias"] == config.conv_bias
    assert judge["encoder_layer_norm_first"] == config.norm_first
    sizes = ("embed_dim", "num_layers", "num_heads", "ff_interm_features", "num_buckets", "max_distance")
    ours = (
        config.hidden_size,
        config.num_layers,
        config.num_heads,
        config.intermediate_size,
        config.buckets,
        config.max_distance,
    )
    assert tuple(judge[f"encoder_{size}"] for size in sizes) == ours
    positions = (config.position_kernel, config.position_groups)
    assert (judge["encoder_pos_conv_kernel"], judge["encoder_pos_conv_groups"]) == positions
    assert (bundle.sample_rate, bundle._normalize_waveform) == (config.rate, config.normalize)
    assert (config.min_length, config.out_length(16_000)) == (400, 49)


@pytest.mark.parametrize("normalize", [False, True])
def test_samples_equal_the_upstream_processors(normalize: bool) -> None:
    upstream = Wav2Vec2FeatureExtractor(do_normalize=normalize)
    processor = WavLMProcessor(scratch(normalize=normalize))
    for samples in (100, 12_345):
        signal = recording(samples)
        expected = upstream(signal.samples, sampling_rate=16_000, return_tensors="pt")["input_values"][0]
        item = processor(signal)
        assert item.tensors["samples"].dtype == torch.float32
        assert (item.tensors["samples"] - expected).abs().max() <= 1e-5
        assert item.length == samples


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 192_000, 44_101])
def test_a_tone_of_any_rate_becomes_the_same_tone(rate: int) -> None:
    def tone(rate: int) -> Waveform:
        return Waveform(np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate).astype(np.float32), rate)

    samples = WavLMProcessor(scratch(normalize=False))(tone(rate)).tensors["samples"]
    expected = torch.from_numpy(tone(16_000).samples)
    assert abs(len(samples) - 8000) <= 1
    assert (samples[200:7800] - expected[200:7800]).abs().max() < 0.01


def test_resampling_is_torchaudios_in_double_precision() -> None:
    signal = recording(5000, 44_100)
    samples = WavLMProcessor(scratch(normalize=False))(signal).tensors["samples"]
    expected = torchaudio.functional.resample(torch.from_numpy(signal.samples).double(), 44_100, 16_000)
    assert (samples - expected).abs().max() <= 1e-5


convolutions = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(convolutions, st.integers(0, 60), st.sampled_from(["group", "layer"]))
def test_lengths_are_those_of_forward(layers: list[tuple[int, int]], surplus: int, norm: str) -> None:
    if norm == "group":
        layers = [*layers, (2, 1)]
    kernels, strides = zip(*layers, strict=True)
    convolutions = {"conv_dim": (4,) * len(layers), "conv_kernel": kernels, "conv_stride": strides}
    config = scratch(**convolutions, conv_norm=norm, num_layers=1, hidden_size=6, normalize=False)
    assert config.out_length(config.min_length) == 1
    assert [config.out_length(length) for length in range(config.min_length)] == [0] * config.min_length
    item = WavLMProcessor(config)(recording(config.min_length + surplus))
    with torch.no_grad():
        features = WavLMEncoder(config).eval()([item])
    assert features.values.shape == (1, config.out_length(item.length), config.out_dim)


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_random_only_where_dropout_is_asked_for(kind: dict[str, Any]) -> None:
    torch.manual_seed(5)
    item = WavLMProcessor(scratch())(recording(500))
    for dropout in (0.0, 0.5):
        encoder = WavLMEncoder(scratch(**kind, dropout=dropout)).train()
        with torch.no_grad():
            assert torch.equal(encoder([item]).values, encoder([item]).values) == (dropout == 0.0)


def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path) -> None:
    published_model(tmp_path)
    config = WavLMConfig(checkpoint=str(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    again = WavLMConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    saved, fresh = WavLMEncoder(config).state_dict(), WavLMEncoder(again)
    fresh.load_state_dict(saved)
    assert all(torch.equal(saved[name], tensor) for name, tensor in fresh.state_dict().items())


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(tmp_path: Path) -> None:
    published_model(tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    name = "feature_projection.projection.bias"
    damages = {
        f"1 missing: {name}": {key: value for key, value in whole.items() if key != name},
        rf"{name} \[23\] instead of \[24\]": whole | {name: torch.zeros(23)},
        "1 unexpected: extra": whole | {"extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, tmp_path / "model.safetensors")
        encoder = WavLMEncoder(WavLMConfig(checkpoint=str(tmp_path)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(tmp_path: Path) -> None:
    published_model(tmp_path)
    whole = (tmp_path / "config.json").read_text()
    wrong = {
        "model_type 'wav2vec2', not 'wavlm'": {"model_type": "wav2vec2"},
        "hidden_act = 'relu'": {"hidden_act": "relu"},
        "hidden_size = '24'": {"hidden_size": "24"},
        "conv_dim = 12": {"conv_dim": 12},
    }
    for message, changes in wrong.items():
        (tmp_path / "config.json").write_text(json.dumps(json.loads(whole) | changes))
        with pytest.raises(ValidationError, match=message):
            WavLMConfig(checkpoint=str(tmp_path))
    (tmp_path / "config.json").write_text(whole)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValidationError, match=r"has no preprocessor_config\.json"):
        WavLMConfig(checkpoint=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "microsoft/wavlm-large", "init": "scratch"}, "either a checkpoint or init: scratch"),
        (SIZES | {"init": "scratch", "num_heads": 5}, "heads 5 does not divide the hidden_size 24"),
        (SIZES | {"init": "scratch", "position_groups": 7}, "position_groups 7 does not divide the hidden_size 24"),
        (SIZES | {"init": "scratch", "conv_dim": (4, 4)}, "of the same length"),
        (SIZES | {"init": "scratch", "conv_kernel": (10, 1, 1)}, "conv_norm group .* use layer"),
        (SIZES | {"init": "scratch", "conv_stride": (5, 0, 2)}, "greater than 0"),
        (SIZES | {"init": "scratch", "max_distance": 4}, "not more than a quarter of 16 buckets"),
        (SIZES | {"init": "scratch", "depth": 4}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WavLMConfig(**values)


def test_a_recording_that_is_too_short_is_refused() -> None:
    config = scratch()
    processor = WavLMProcessor(config)
    assert processor(recording(config.min_length)).length == config.min_length == 30
    with pytest.raises(DataError, match=r"1\.8 ms is too short, it takes at least 1\.9 ms"):
        processor(recording(config.min_length - 1))
    with pytest.raises(DataError, match="too short"):
        WavLMProcessor(WavLMConfig(checkpoint="microsoft/wavlm-base-plus"))(recording(1100, 48_000))
