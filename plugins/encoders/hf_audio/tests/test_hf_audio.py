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
from modrwkv_hf_audio.config import HFAudioConfig
from modrwkv_hf_audio.encoder import HFAudioEncoder
from modrwkv_hf_audio.processor import HFAudioProcessor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.testing import EncoderContract

SIZES: dict[str, Any] = {
    "architecture": "hubert",
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
    "position_layers": 1,
    "projection_norm": True,
    "adapter_dim": 0,
}
LARGE = {"conv_norm": "layer", "norm_first": True, "conv_bias": True}
DATA2VEC = {"architecture": "data2vec-audio", "conv_norm": "layer", "position_layers": 3, "position_kernel": 5}
UPSTREAM: dict[str, Any] = {
    "conv_dim": (12, 12, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}
UPSTREAM_LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def wav2vec2(**options: Any) -> transformers.Wav2Vec2Config:
    return transformers.Wav2Vec2Config(
        **UPSTREAM,
        **options,
        num_codevectors_per_group=8,
        codevector_dim=8,
        proj_codevector_dim=8,
    )


def hubert(**options: Any) -> transformers.HubertConfig:
    return transformers.HubertConfig(**UPSTREAM, **options)


def data2vec() -> transformers.Data2VecAudioConfig:
    return transformers.Data2VecAudioConfig(**UPSTREAM | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5})


TOWERS = [
    pytest.param(wav2vec2(), {"architecture": "wav2vec2"}, id="wav2vec2"),
    pytest.param(wav2vec2(**UPSTREAM_LARGE), {"architecture": "wav2vec2", **LARGE}, id="xls-r"),
    pytest.param(
        wav2vec2(**UPSTREAM_LARGE, adapter_attn_dim=4),
        {"architecture": "wav2vec2", **LARGE, "adapter_dim": 4},
        id="mms",
    ),
    pytest.param(hubert(), {}, id="hubert"),
    pytest.param(hubert(**UPSTREAM_LARGE), LARGE, id="hubert-large"),
    pytest.param(hubert(feat_proj_layer_norm=False), {"projection_norm": False}, id="distilhubert"),
    pytest.param(data2vec(), DATA2VEC, id="data2vec"),
]


class TestHFAudio(EncoderContract):
    plugin = "modrwkv_hf_audio.plugin"
    name = "hf_audio"
    configs = (
        {"init": "scratch", **SIZES},
        {"init": "scratch", **SIZES, **LARGE, "architecture": "wav2vec2", "rate": 8000, "adapter_dim": 4},
        {"init": "scratch", **SIZES, **DATA2VEC},
    )
    unreached = frozenset(f"model.encoder.layers.{layer}.attention.k_proj.bias" for layer in range(2))
    """Softmax does not see what all keys share."""

    def signals(self, config: HFAudioConfig) -> list[Waveform]:
        lengths = (800, 300, 800, config.min_length)
        recordings = [recording(length, config.rate, seed) for seed, length in enumerate(lengths)]
        return [*recordings, recording(1000, 44_100)]

    def bad_signals(self, config: HFAudioConfig) -> list[Waveform]:
        return [recording(config.min_length - 1, config.rate), recording(1, config.rate)]


def publish(model: transformers.PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return folder


def published_model(folder: Path, config: transformers.PreTrainedConfig) -> Any:
    torch.manual_seed(1)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    publish(model, folder)
    return model


def scratch(**sizes: Any) -> HFAudioConfig:
    return HFAudioConfig(init="scratch", **(SIZES | sizes))


def recording(samples: int, rate: int = 16_000, seed: int = 0) -> Waveform:
    return Waveform(np.random.default_rng(seed).normal(0.1, 0.3, samples).astype(np.float32), rate)


@pytest.mark.parametrize(("upstream", "sizes"), TOWERS)
def test_sizes_and_weights_come_from_the_checkpoint(
    tmp_path: Path, upstream: transformers.PreTrainedConfig, sizes: dict[str, Any]
) -> None:
    model = published_model(tmp_path, upstream)
    config = HFAudioConfig(checkpoint=str(tmp_path))
    assert {name: getattr(config, name) for name in SIZES} == SIZES | sizes
    encoder = HFAudioEncoder(config).eval()
    encoder.load_pretrained()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    signals = [recording(samples, seed=samples) for samples in (config.min_length, 333, 4000, 333)]
    with torch.no_grad():
        together = encoder([HFAudioProcessor(config)(signal) for signal in signals])
        for row, signal in enumerate(signals):
            inputs = extractor(signal.samples, sampling_rate=16_000, return_tensors="pt").input_values
            expected = model(inputs).last_hidden_state[0]
            features = together.values[row, : int(together.lengths[row])]
            assert features.shape == expected.shape == (config.out_length(len(signal.samples)), 24)
            assert torch.linalg.norm(features - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize(
    "model",
    [
        transformers.Wav2Vec2ForPreTraining,
        transformers.Wav2Vec2ForCTC,
        transformers.Wav2Vec2ForSequenceClassification,
        transformers.Wav2Vec2ForXVector,
        transformers.HubertForCTC,
        transformers.HubertForSequenceClassification,
        transformers.Data2VecAudioForCTC,
        transformers.Data2VecAudioForXVector,
    ],
)
def test_models_with_heads_load_without_them(tmp_path: Path, model: Any) -> None:
    torch.manual_seed(2)
    name = model.__name__.split("For")[0]
    config = {"Wav2Vec2": wav2vec2, "Hubert": hubert, "Data2VecAudio": data2vec}[name]()
    if "XVector" in model.__name__:
        config.tdnn_dim, config.tdnn_kernel, config.tdnn_dilation = (8, 8), (3, 1), (1, 1)
    whole = model(config)
    encoder = HFAudioEncoder(HFAudioConfig(checkpoint=str(publish(whole, tmp_path))))
    encoder.load_pretrained()
    expected = whole.base_model.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in encoder.model.state_dict().items())


def test_the_layout_of_the_first_publication_loads(tmp_path: Path) -> None:
    model = published_model(tmp_path, wav2vec2())
    tensors = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in model.state_dict().items()
    }
    assert "encoder.pos_conv_embed.conv.weight_g" in tensors
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    encoder = HFAudioEncoder(HFAudioConfig(checkpoint=str(tmp_path)))
    encoder.load_pretrained()
    expected = model.state_dict()
    assert all(torch.equal(expected[name], tensor) for name, tensor in encoder.model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "bundle"),
    [
        ("facebook/wav2vec2-base", torchaudio.pipelines.WAV2VEC2_BASE),
        ("facebook/wav2vec2-large", torchaudio.pipelines.WAV2VEC2_LARGE),
        ("facebook/wav2vec2-large-lv60", torchaudio.pipelines.WAV2VEC2_LARGE_LV60K),
        ("facebook/wav2vec2-large-xlsr-53", torchaudio.pipelines.WAV2VEC2_XLSR53),
        ("facebook/wav2vec2-xls-r-300m", torchaudio.pipelines.WAV2VEC2_XLSR_300M),
        ("facebook/wav2vec2-xls-r-1b", torchaudio.pipelines.WAV2VEC2_XLSR_1B),
        ("facebook/wav2vec2-xls-r-2b", torchaudio.pipelines.WAV2VEC2_XLSR_2B),
        ("facebook/hubert-base-ls960", torchaudio.pipelines.HUBERT_BASE),
    ],
)
def test_published_sizes_are_known_offline(name: str, bundle: Any) -> None:
    """They are those that torchaudio knows of the same models."""
    config, judge = HFAudioConfig(checkpoint=name), bundle._params
    convolutions = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    assert [tuple(layer) for layer in judge["extractor_conv_layer_config"]] == convolutions
    assert judge["extractor_mode"] == f"{config.conv_norm}_norm"
    assert judge["extractor_conv_bias"] == config.conv_bias
    assert judge["encoder_layer_norm_first"] == config.norm_first
    ours = (config.hidden_size, config.num_layers, config.num_heads, config.intermediate_size)
    sizes = ("embed_dim", "num_layers", "num_heads", "ff_interm_features")
    assert tuple(judge[f"encoder_{size}"] for size in sizes) == ours
    positions = (config.position_kernel, config.position_groups)
    assert (judge["encoder_pos_conv_kernel"], judge["encoder_pos_conv_groups"]) == positions
    assert bundle.sample_rate == config.rate
    assert name.split("/")[1].startswith(config.architecture)
    assert (config.min_length, config.out_length(16_000)) == (400, 49)


convolutions = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 4)), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(convolutions, st.integers(0, 60), st.sampled_from(["wav2vec2", "hubert", "data2vec-audio"]))
def test_lengths_are_those_of_forward(layers: list[tuple[int, int]], surplus: int, architecture: str) -> None:
    kernels, strides = zip(*layers, strict=True)
    sizes = {"conv_dim": (4,) * len(layers), "conv_kernel": kernels, "conv_stride": strides, "conv_norm": "layer"}
    config = scratch(**sizes, architecture=architecture, num_layers=1, hidden_size=6, normalize=False)
    item = HFAudioProcessor(config)(recording(config.min_length + surplus))
    with torch.no_grad():
        features = HFAudioEncoder(config).eval()([item])
    assert features.values.shape == (1, config.out_length(item.length), config.out_dim)


@pytest.mark.parametrize("sizes", [{}, LARGE | {"architecture": "wav2vec2"}, DATA2VEC])
def test_training_is_random_only_where_dropout_is_asked_for(sizes: dict[str, Any]) -> None:
    torch.manual_seed(5)
    item = HFAudioProcessor(scratch())(recording(500))
    for dropout in (0.0, 0.5):
        encoder = HFAudioEncoder(scratch(**sizes, dropout=dropout)).train()
        with torch.no_grad():
            assert torch.equal(encoder([item]).values, encoder([item]).values) == (dropout == 0.0)


@pytest.mark.parametrize("upstream", [wav2vec2(), data2vec()])
def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path, upstream: transformers.PreTrainedConfig) -> None:
    published_model(tmp_path, upstream)
    config = HFAudioConfig(checkpoint=str(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    again = HFAudioConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    saved, fresh = HFAudioEncoder(config).state_dict(), HFAudioEncoder(again)
    fresh.load_state_dict(saved)
    assert all(torch.equal(saved[name], tensor) for name, tensor in fresh.state_dict().items())


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(tmp_path: Path) -> None:
    published_model(tmp_path, hubert())
    whole = load_file(tmp_path / "model.safetensors")
    name = "feature_projection.projection.bias"
    damages = {
        f"1 missing: {name}": {key: value for key, value in whole.items() if key != name},
        rf"{name} \[23\] instead of \[24\]": whole | {name: torch.zeros(23)},
        "1 unexpected: extra": whole | {"extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, tmp_path / "model.safetensors")
        encoder = HFAudioEncoder(HFAudioConfig(checkpoint=str(tmp_path)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(tmp_path: Path) -> None:
    published_model(tmp_path, hubert())
    whole = (tmp_path / "config.json").read_text()
    wrong = {
        r"model_type 'wavlm'.*\nhint: use type: wavlm": {"model_type": "wavlm"},
        "model_type 'sew', not 'wav2vec2' or 'hubert' or 'data2vec-audio'": {"model_type": "sew"},
        "hidden_act = 'relu'": {"hidden_act": "relu"},
        "conv_pos_batch_norm = True": {"conv_pos_batch_norm": True},
        "add_adapter = True": {"add_adapter": True},
        "hidden_size = '24'": {"hidden_size": "24"},
    }
    for message, changes in wrong.items():
        (tmp_path / "config.json").write_text(json.dumps(json.loads(whole) | changes))
        with pytest.raises(ValidationError, match=message):
            HFAudioConfig(checkpoint=str(tmp_path))
    with pytest.raises(ValidationError, match="use type: wavlm"):
        HFAudioConfig(checkpoint="microsoft/wavlm-large")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        (SIZES | {"init": "scratch", "num_heads": 5}, "heads 5 does not divide the hidden_size 24"),
        (SIZES | {"init": "scratch", "conv_dim": (4, 4)}, "of the same length"),
        (SIZES | {"init": "scratch", "architecture": "wavlm"}, "'wav2vec2', 'hubert' or 'data2vec-audio'"),
        (SIZES | {"init": "scratch", "architecture": "data2vec-audio"}, "conv_norm: layer and norm_first: false only"),
        (SIZES | {"init": "scratch", "position_layers": 2}, "hubert has one convolution for positions"),
        (SIZES | {"init": "scratch", "adapter_dim": 4}, "adapter_dim needs architecture: wav2vec2"),
        (
            SIZES | {"init": "scratch", "architecture": "wav2vec2", "projection_norm": False},
            "wav2vec2 has projection_norm: true only",
        ),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HFAudioConfig(**values)
