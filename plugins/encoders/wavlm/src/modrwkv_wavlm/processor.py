"""Recordings to the samples that WavLM reads."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torchaudio.transforms import Resample

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_wavlm.config import WavLMConfig

__all__ = ["WavLMProcessor"]


class WavLMProcessor(Processor[WavLMConfig, Waveform]):
    """Resamples a recording to the encoder's rate and, where the checkpoint wants it, normalizes it."""

    def __call__(self, signal: Waveform) -> MediaItem:
        """Make ``samples [samples]``, float32; the length is their number.

        Raises:
            DataError: The recording is shorter than the receptive field of one feature, or holds NaN or infinity.
        """
        if not np.isfinite(signal.samples).all():
            raise DataError(
                "a sample of the recording is NaN or infinite",
                component="encoder/wavlm",
                hint="save the recording again from its source, or leave it out",
            )
        samples = _resample(torch.from_numpy(signal.samples.copy()), signal.rate, self.config.rate)
        if len(samples) < self.config.min_length:
            seconds, least = len(signal.samples) / signal.rate, self.config.min_length / self.config.rate
            raise DataError(
                f"a recording of {1000 * seconds:.1f} ms is too short, it takes at least {1000 * least:.1f} ms",
                component="encoder/wavlm",
                hint="give a longer recording, or leave it out",
            )
        if self.config.normalize:
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
        return MediaItem({"samples": samples}, len(samples))


def _resample(samples: Tensor, rate: int, to: int) -> Tensor:
    if rate == to:
        return samples
    # The filter grows with the denominator; 640 keeps the ratios of all customary rates exact, and others to 4 ppm.
    ratio = Fraction(rate, to).limit_denominator(640)
    resampled: Tensor = _resampler(ratio.numerator, ratio.denominator)(samples)
    return resampled


@lru_cache(maxsize=8)
def _resampler(rate: int, to: int) -> Resample:
    return Resample(rate, to)
