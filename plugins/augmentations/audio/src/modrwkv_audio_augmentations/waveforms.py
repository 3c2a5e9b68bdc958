"""Augmentations of waveforms."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.random import Generator
from torchaudio import functional

from modrwkv_audio_augmentations.config import GainConfig, NoiseConfig, SpeedConfig, TimeShiftConfig
from modrwkv_core.interfaces.augmentation import SignalAugmentation
from modrwkv_core.interfaces.resampling import resample
from modrwkv_core.interfaces.signals import Waveform

__all__ = ["Gain", "Noise", "Speed", "TimeShift"]


class TimeShift(SignalAugmentation[TimeShiftConfig, Waveform]):
    """Moves a recording in time."""

    def __call__(self, signal: Waveform, rng: Generator) -> Waveform:
        """Return a recording of the same length."""
        length = len(signal.samples)
        longest = min(int(self.config.max_seconds * signal.rate), length // 2)
        way = int(rng.integers(-longest, longest + 1))
        samples = np.zeros_like(signal.samples)
        samples[max(way, 0) : length + min(way, 0)] = signal.samples[max(-way, 0) : length - max(way, 0)]
        return Waveform(samples, signal.rate)


class Gain(SignalAugmentation[GainConfig, Waveform]):
    """Makes a recording louder or quieter."""

    def __call__(self, signal: Waveform, rng: Generator) -> Waveform:
        """Return a recording of the same length."""
        gain = 10.0 ** (rng.uniform(self.config.min_db, self.config.max_db) / 20.0)
        return Waveform(signal.samples * np.float32(gain), signal.rate)


class Noise(SignalAugmentation[NoiseConfig, Waveform]):
    """Adds white noise."""

    def __call__(self, signal: Waveform, rng: Generator) -> Waveform:
        """Return a recording of the same length."""
        snr = rng.uniform(self.config.min_snr, self.config.max_snr)
        noise = torch.from_numpy(rng.normal(size=signal.samples.shape))
        samples = torch.from_numpy(signal.samples.astype(np.float64))
        noisy = functional.add_noise(samples, noise, torch.tensor(snr, dtype=torch.float64))
        return Waveform(noisy.numpy().astype(np.float32), signal.rate)


class Speed(SignalAugmentation[SpeedConfig, Waveform]):
    """Plays a recording faster or slower."""

    def __call__(self, signal: Waveform, rng: Generator) -> Waveform:
        """Return a recording whose length is divided by the factor."""
        # The resampling filter grows with the denominator.
        factor = Fraction(float(rng.choice(self.config.factors))).limit_denominator(100)
        samples = torch.from_numpy(signal.samples.copy())
        resampled = resample(samples, factor.numerator, factor.denominator)
        return Waveform(resampled.numpy(), signal.rate)
