from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_audio_augmentations.config import (
    GainConfig,
    NoiseConfig,
    SpecAugmentConfig,
    SpeedConfig,
    TimeShiftConfig,
)
from modrwkv_audio_augmentations.spectrograms import SpecAugment
from modrwkv_audio_augmentations.waveforms import Gain, Noise, Speed, TimeShift
from pydantic import ValidationError

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.values import MediaItem

SEEDS = st.integers(0, 2**32)


def noise(samples: int, rate: int = 1000) -> Waveform:
    return Waveform(np.random.default_rng(0).normal(0.0, 0.1, samples).astype(np.float32), rate)


def tone(seconds: float, hertz: float, rate: int = 16_000) -> Waveform:
    time = np.arange(int(seconds * rate)) / rate
    return Waveform(np.sin(2 * np.pi * hertz * time).astype(np.float32), rate)


@given(seed=SEEDS, samples=st.integers(1, 300), seconds=st.floats(0.001, 1.0))
def test_shifts_keep_what_stays_inside(seed: int, samples: int, seconds: float) -> None:
    ramp = Waveform(np.arange(1, samples + 1, dtype=np.float32), 1000)
    moved = TimeShift(TimeShiftConfig(max_seconds=seconds))(ramp, np.random.default_rng(seed))
    assert (len(moved.samples), moved.rate) == (samples, 1000)
    places = np.flatnonzero(moved.samples)
    [way] = set((places + 1 - moved.samples[places]).astype(int).tolist())
    assert abs(way) <= min(int(seconds * 1000), samples // 2)
    assert len(places) == samples - abs(way)


@given(seed=SEEDS, low=st.floats(-40.0, 20.0), span=st.floats(0.0, 20.0))
def test_gains_stay_in_their_range(seed: int, low: float, span: float) -> None:
    signal = noise(50)
    louder = Gain(GainConfig(min_db=low, max_db=low + span))(signal, np.random.default_rng(seed))
    decibels = 20 * np.log10(louder.samples / signal.samples)
    assert decibels.max() - decibels.min() < 1e-4
    assert low - 1e-4 <= decibels.mean() <= low + span + 1e-4


@given(seed=SEEDS, low=st.floats(-10.0, 30.0), span=st.floats(0.0, 20.0))
def test_noise_has_the_energy_that_is_asked_for(seed: int, low: float, span: float) -> None:
    signal = noise(2000)
    noisy = Noise(NoiseConfig(min_snr=low, max_snr=low + span))(signal, np.random.default_rng(seed))
    added = noisy.samples.astype(np.float64) - signal.samples
    snr = 10 * np.log10((signal.samples.astype(np.float64) ** 2).sum() / (added**2).sum())
    assert low - 0.01 <= snr <= low + span + 0.01


def test_silence_stays_silence() -> None:
    silent = Waveform(np.zeros(100, np.float32), 1000)
    assert not Noise(NoiseConfig())(silent, np.random.default_rng(0)).samples.any()


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_speed_divides_the_length_and_raises_the_pitch(factor: float) -> None:
    faster = Speed(SpeedConfig(factors=(factor,)))(tone(0.5, 400.0), np.random.default_rng(0))
    assert len(faster.samples) == pytest.approx(8000 / factor, abs=1)
    assert faster.rate == 16_000
    spectrum = np.abs(np.fft.rfft(faster.samples))
    assert spectrum.argmax() * 16_000 / len(faster.samples) == pytest.approx(400 * factor, abs=2.5)


@given(
    seed=SEEDS,
    bins=st.integers(1, 100),
    frames=st.integers(1, 120),
    width=st.integers(1, 200),
    share=st.floats(0.01, 1.0),
    masks=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_spec_augment_masks_stretches_of_frames_and_bins(
    seed: int, bins: int, frames: int, width: int, share: float, masks: tuple[int, int]
) -> None:
    mel = torch.randn(bins, frames, generator=torch.Generator().manual_seed(0))
    config = SpecAugmentConfig(
        time_masks=masks[0],
        frequency_masks=masks[1],
        time_width=width,
        frequency_width=width,
        max_time_share=share,
    )
    masked = SpecAugment(config)(MediaItem({"mel": mel}, 0), np.random.default_rng(seed)).tensors["mel"]
    changed = masked != mel
    assert torch.equal(masked[:, -1], mel[:, -1])
    assert torch.allclose(masked[changed], mel.mean())
    columns, rows = changed[:, :-1].all(dim=0), changed[:, :-1].all(dim=1)
    assert torch.equal(changed[:, :-1], columns[None, :] | rows[:, None])
    if not (columns.all() or rows.all()):
        assert columns.sum() <= masks[0] * min(width, int(share * frames))
        assert rows.sum() <= masks[1] * width


def test_spec_augment_needs_a_spectrogram() -> None:
    item = MediaItem({"samples": torch.ones(5)}, 5)
    with pytest.raises(ComponentError, match="the encoder's items hold samples") as caught:
        SpecAugment(SpecAugmentConfig())(item, np.random.default_rng(0))
    assert "feature_mask" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("config", "ends"), [(GainConfig, ("min_db", "max_db")), (NoiseConfig, ("min_snr", "max_snr"))]
)
def test_ranges_are_ordered(config: type, ends: tuple[str, str]) -> None:
    with pytest.raises(ValidationError, match="above max"):
        config(**dict(zip(ends, (1.0, 0.0), strict=True)))
