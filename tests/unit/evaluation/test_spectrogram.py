from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.evaluation.spectrogram import FLOOR, decibels
from modrwkv_core.interfaces.signals import Waveform


@pytest.mark.parametrize(("rate", "tone"), [(8000, 1000.0), (16000, 440.0), (44100, 9000.0)])
def test_a_tone_is_loudest_at_its_frequency(rate: int, tone: float) -> None:
    seconds = np.arange(rate) / rate
    spectrum = decibels(Waveform(np.sin(2 * np.pi * tone * seconds).astype(np.float32), rate))
    frequencies = np.linspace(0, rate / 2, len(spectrum))
    middle = spectrum[:, spectrum.shape[1] // 2]
    assert abs(frequencies[middle.argmax()] - tone) <= frequencies[1]
    assert spectrum.max() == 0.0


def test_a_tone_of_a_hundredth_of_the_amplitude_is_40_decibels_down() -> None:
    seconds = np.arange(16000) / 8000
    loud = np.where(seconds < 1, 1.0, 0.01)
    spectrum = decibels(Waveform((loud * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32), 8000))
    quarter, three_quarters = spectrum.shape[1] // 4, 3 * spectrum.shape[1] // 4
    assert spectrum[:, quarter].max() - spectrum[:, three_quarters].max() == pytest.approx(40.0, abs=0.1)


def test_silence_is_the_floor_everywhere() -> None:
    assert np.all(decibels(Waveform(np.zeros(4000, np.float32), 8000)) == FLOOR)


@given(st.integers(1, 5000), st.integers(1, 48000))
def test_any_length_at_any_rate_has_a_spectrum(length: int, rate: int) -> None:
    samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    spectrum = decibels(Waveform(samples, rate))
    assert spectrum.min() >= FLOOR
    assert spectrum.max() == 0.0


def test_an_hour_of_sound_has_a_bounded_number_of_frames() -> None:
    assert decibels(Waveform(np.ones(3600 * 1000, np.float32), 1000)).shape[1] <= 1002
