"""The processor of encoders that read the samples of a recording."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.resampling import resample
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.interfaces.waveform_config import WaveformEncoderConfig

__all__ = ["WaveformProcessor"]

ConfigT = TypeVar("ConfigT", bound=WaveformEncoderConfig)


class WaveformProcessor(Processor[ConfigT, Waveform]):
    """Resamples a recording to the encoder's rate and, where the checkpoint wants it, normalizes it."""

    def __call__(self, signal: Waveform) -> MediaItem:
        """Make ``samples [samples]``, float32; the length is their number.

        Raises:
            DataError: The recording is shorter than the receptive field of one feature, or holds NaN or infinity.
        """
        component = f"encoder/{self.config.type}"
        if not np.isfinite(signal.samples).all():
            raise DataError(
                "a sample of the recording is NaN or infinite",
                component=component,
                hint="save the recording again from its source, or leave it out",
            )
        samples = resample(torch.from_numpy(signal.samples.copy()), signal.rate, self.config.rate)
        if len(samples) < self.config.min_length:
            seconds, least = len(signal.samples) / signal.rate, self.config.min_length / self.config.rate
            raise DataError(
                f"a recording of {1000 * seconds:.1f} ms is too short, it takes at least {1000 * least:.1f} ms",
                component=component,
                hint="give a longer recording, or leave it out",
            )
        if self.config.normalize:
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
        return MediaItem({"samples": samples}, len(samples))
