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
from modrwkv_whisper.config import WhisperConfig
from modrwkv_whisper.encoder import WhisperEncoder
from modrwkv_whisper.processor import WhisperProcessor
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.testing import EncoderContract

SIZES: dict[str, Any] = {
    "mel_bins": 20,
    "window": 25,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "intermediate_size": 40,
}
WINDOW = 25 * 320
"""Samples of a window of 0.5 s."""


class TestWhisper(EncoderContract):
    plugin = "modrwkv_whisper.plugin"
    name = "whisper"
    configs = (
        {"init": "scratch", **SIZES},
        {"init": "scratch", **SIZES, "mel_bins": 8, "window": 2, "hidden_size": 4, "num_heads": 1},
    )

    def signals(self, config: WhisperConfig) -> list[Waveform]:
        window = config.window_samples
        lengths = (1, window - 1, window, window + 1, 2 * window + window // 2)
        return [recording(length, seed=length) for length in lengths] + [recording(3000, 44_100)]

    def bad_signals(self, config: WhisperConfig) -> list[Waveform]:
        return [Waveform(np.zeros(0, np.float32), 16_000)]


def upstream_config(**sizes: int) -> transformers.WhisperConfig:
    sizes = SIZES | sizes
    return transformers.WhisperConfig(
        num_mel_bins=sizes["mel_bins"],
        max_source_positions=sizes["window"],
        d_model=sizes["hidden_size"],
        encoder_layers=sizes["num_layers"],
        encoder_attention_heads=sizes["num_heads"],
        encoder_ffn_dim=sizes["intermediate_size"],
        decoder_layers=1,
        decoder_attention_heads=3,
        decoder_ffn_dim=16,
        vocab_size=30,
        max_target_positions=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )


def published_model(folder: Path, kind: type = WhisperForConditionalGeneration, **sizes: int) -> Any:
    torch.manual_seed(1)
    model = kind(upstream_config(**sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def scratch(**sizes: Any) -> WhisperConfig:
    return WhisperConfig(init="scratch", **(SIZES | sizes))


def recording(samples: int, rate: int = 16_000, seed: int = 0) -> Waveform:
    return Waveform(np.random.default_rng(seed).normal(0.1, 0.3, samples).astype(np.float32), rate)


def upstream_spectrogram(samples: np.ndarray, mel_bins: int, window: int) -> torch.Tensor:
    """``[windows, mel bins, frames]`` as the upstream processor makes them, each window a clip of its own."""
    extractor = WhisperFeatureExtractor(feature_size=mel_bins)
    clips = [samples[start : start + window] for start in range(0, len(samples), window)]
    return torch.cat(
        [extractor(clip, sampling_rate=16_000, max_length=window, return_tensors="pt").input_features for clip in clips]
    )


@pytest.mark.parametrize("kind", [WhisperForConditionalGeneration, WhisperModel])
@pytest.mark.parametrize("mel_bins", [80, 128])
def test_features_of_a_checkpoint_equal_upstreams(tmp_path: Path, kind: type, mel_bins: int) -> None:
    upstream = published_model(tmp_path, kind, mel_bins=mel_bins).get_encoder()
    config = WhisperConfig(checkpoint=str(tmp_path))
    assert {name: getattr(config, name) for name in SIZES} == SIZES | {"mel_bins": mel_bins}
    encoder = WhisperEncoder(config).eval()
    encoder.load_pretrained()
    assert encoder.pretrained_files() == (tmp_path / "model.safetensors",)
    lengths = [1, 320, 321, 5000, WINDOW, WINDOW + 1, 3 * WINDOW - 500]
    signals = [recording(length, seed=length) for length in lengths]
    with torch.no_grad():
        together = encoder([WhisperProcessor(config)(signal) for signal in signals])
        for row, signal in enumerate(signals):
            windows = upstream(upstream_spectrogram(signal.samples, mel_bins, WINDOW)).last_hidden_state
            expected = windows.flatten(0, 1)[: -(-len(signal.samples) // 320)]
            features = together.values[row, : int(together.lengths[row])]
            assert features.shape == expected.shape
            assert torch.linalg.norm(features - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_spectrograms_equal_the_upstream_processors(mel_bins: int) -> None:
    """Of whole windows of 30 s, padded by what the encoder fills in."""
    config = scratch(mel_bins=mel_bins, window=1500)
    encoder, processor = WhisperEncoder(config), WhisperProcessor(config)
    for samples in (1, 160, 12_345, 479_900, 480_000, 500_000):
        signal = recording(samples)
        item = processor(signal)
        windows = encoder._windows(item.tensors["mel"])
        expected = upstream_spectrogram(signal.samples, mel_bins, 480_000)
        assert windows.shape == expected.shape
        assert (windows - expected).abs().max() <= 1e-5
        assert item.length == samples
    assert processor(recording(16_000)).tensors["mel"].shape == (mel_bins, 103)


def test_spectrograms_follow_their_definition() -> None:
    """In float64 with torchaudio's filters: power, mel bins of equal area, ten decades, eight of which are kept."""
    config = scratch(mel_bins=80, window=50)
    samples = torch.from_numpy(recording(16_000).samples).double()
    window = torch.hann_window(400, dtype=torch.float64)
    power = torch.stft(samples, 400, 160, window=window, return_complex=True)[:, :-1].abs() ** 2
    filters = torchaudio.functional.melscale_fbanks(201, 0.0, 8000.0, 80, 16_000, norm="slaney", mel_scale="slaney")
    logarithm = (filters.double().T @ power).clamp(min=1e-10).log10()
    expected = (torch.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0
    mel = WhisperProcessor(config)(recording(16_000)).tensors["mel"]
    assert (mel - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000, 192_000, 44_101])
def test_a_tone_of_any_rate_becomes_the_same_tone(rate: int) -> None:
    def tone(rate: int) -> Waveform:
        return Waveform(np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate).astype(np.float32), rate)

    processor = WhisperProcessor(scratch(mel_bins=40))
    item, expected = processor(tone(rate)), processor(tone(16_000))
    assert abs(item.length - 8000) <= 1
    loud = expected.tensors["mel"][:, 5:45] > 0.0
    assert loud.any()
    assert (item.tensors["mel"][:, 5:45] - expected.tensors["mel"][:, 5:45])[loud].abs().max() < 0.02


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5000))
def test_lengths_are_those_of_forward(window: int, samples: int) -> None:
    config = scratch(mel_bins=4, window=window, hidden_size=4, num_heads=1, num_layers=1, intermediate_size=4)
    with torch.no_grad():
        features = WhisperEncoder(config).eval()([WhisperProcessor(config)(recording(samples))])
    assert features.values.shape == (1, config.out_length(samples), config.out_dim)


def test_a_window_knows_nothing_of_the_others() -> None:
    torch.manual_seed(3)
    config = scratch()
    encoder, processor = WhisperEncoder(config).eval(), WhisperProcessor(config)
    first, second = recording(WINDOW, seed=1), recording(4000, seed=2)
    both = Waveform(np.concatenate([first.samples, second.samples]), 16_000)
    with torch.no_grad():
        together = encoder([processor(both)]).values[0]
        alone = torch.cat([encoder([processor(signal)]).values[0] for signal in (first, second)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    ("name", "decoder_layers", "millions"),
    [
        ("tiny", 4, 39),
        ("base", 6, 74),
        ("small", 12, 244),
        ("medium", 24, 769),
        ("large", 32, 1550),
        ("large-v3-turbo", 4, 809),
    ],
)
def test_published_sizes_are_known_offline(name: str, decoder_layers: int, millions: int) -> None:
    """A whole Whisper of these sizes, decoder and all, has the parameters that OpenAI states."""
    config = WhisperConfig(checkpoint=f"openai/whisper-{name}")
    with torch.device("meta"):
        model = WhisperModel(
            transformers.WhisperConfig(
                num_mel_bins=config.mel_bins,
                max_source_positions=config.window,
                d_model=config.hidden_size,
                encoder_layers=config.num_layers,
                encoder_attention_heads=config.num_heads,
                encoder_ffn_dim=config.intermediate_size,
                decoder_layers=decoder_layers,
                decoder_attention_heads=config.num_heads,
                decoder_ffn_dim=config.intermediate_size,
            )
        )
    assert model.num_parameters() == pytest.approx(1e6 * millions, rel=0.04)
    assert (config.window_samples, config.out_length(480_000)) == (30 * 16_000, 1500)
    assert config.mel_bins == (128 if "v3" in name else 80)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_training_is_random_only_where_dropout_is_asked_for(dropout: float) -> None:
    torch.manual_seed(5)
    item = WhisperProcessor(scratch())(recording(500))
    encoder = WhisperEncoder(scratch(dropout=dropout)).train()
    with torch.no_grad():
        assert torch.equal(encoder([item]).values, encoder([item]).values) == (dropout == 0.0)


def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path) -> None:
    published_model(tmp_path)
    config = WhisperConfig(checkpoint=str(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    again = WhisperConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    saved, fresh = WhisperEncoder(config).state_dict(), WhisperEncoder(again)
    fresh.load_state_dict(saved)
    assert all(torch.equal(saved[name], tensor) for name, tensor in fresh.state_dict().items())


def test_a_weight_file_loads_with_the_configuration_beside_it(tmp_path: Path) -> None:
    expected = published_model(tmp_path).get_encoder().state_dict()
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "speech.bin")
    (tmp_path / "model.safetensors").unlink()
    encoder = WhisperEncoder(WhisperConfig(checkpoint=str(tmp_path / "speech.bin")))
    encoder.load_pretrained()
    assert all(torch.equal(expected[name], tensor) for name, tensor in encoder.model.state_dict().items())


def test_a_shorter_window_keeps_the_first_positions(tmp_path: Path) -> None:
    upstream = published_model(tmp_path).get_encoder()
    upstream.embed_positions = torch.nn.Embedding.from_pretrained(upstream.embed_positions.weight[:10])
    upstream.config.max_source_positions = upstream.max_source_positions = 10
    encoder = WhisperEncoder(WhisperConfig(checkpoint=str(tmp_path), window=10)).eval()
    encoder.load_pretrained()
    mel = torch.randn(SIZES["mel_bins"], 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = encoder([MediaItem({"mel": mel}, 3200)]).values
        torch.testing.assert_close(features, upstream(mel[None]).last_hidden_state, atol=1e-5, rtol=0)


def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(tmp_path: Path) -> None:
    published_model(tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    name = "model.encoder.layers.1.fc1.bias"
    damages = {
        r"1 missing: layers\.1\.fc1\.bias": {key: value for key, value in whole.items() if key != name},
        r"layers\.1\.fc1\.bias \[39\] instead of \[40\]": whole | {name: torch.zeros(39)},
        "1 unexpected: extra": whole | {"model.encoder.extra": torch.zeros(1)},
        "1 unexpected: classifier.weight": whole | {"classifier.weight": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, tmp_path / "model.safetensors")
        encoder = WhisperEncoder(WhisperConfig(checkpoint=str(tmp_path)))
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            encoder.load_pretrained()
        assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_checkpoints_of_another_kind_are_refused(tmp_path: Path) -> None:
    published_model(tmp_path)
    whole = (tmp_path / "config.json").read_text()
    wrong = {
        "model_type 'wavlm', not 'whisper'": {"model_type": "wavlm"},
        "activation_function = 'relu'": {"activation_function": "relu"},
        "scale_embedding = True": {"scale_embedding": True},
        "d_model = '24'": {"d_model": "24"},
    }
    for message, changes in wrong.items():
        (tmp_path / "config.json").write_text(json.dumps(json.loads(whole) | changes))
        with pytest.raises(ValidationError, match=message):
            WhisperConfig(checkpoint=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "openai/whisper-tiny", "init": "scratch"}, "either a checkpoint or init: scratch"),
        (SIZES | {"init": "scratch", "num_heads": 5}, "heads 5 does not divide the hidden_size 24"),
        (SIZES | {"init": "scratch", "hidden_size": 9, "num_heads": 1}, "multiple of 2"),
        (SIZES | {"init": "scratch", "window": 0}, "greater than 0"),
        (SIZES | {"init": "scratch", "depth": 4}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WhisperConfig(**values)


@pytest.mark.parametrize(
    ("samples", "message"),
    [([], "no samples"), ([0.1, np.nan], "samples of nan"), ([0.1, -np.inf], "of inf"), ([0.1, 1e30], r"of 1e\+30")],
)
def test_recordings_that_cannot_be_heard_are_refused(samples: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        WhisperProcessor(scratch())(Waveform(np.array(samples, np.float32), 16_000))
    assert caught.value.hint
