"""Recordings and ready-made frames to media items, which hold ``mel [dims, frames]``."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from modrwkv_conformer.config import ConformerConfig, ConformerFeaturesConfig
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.resampling import resample
from modrwkv_core.interfaces.signals import FeatureFrames, Waveform
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["FramesProcessor", "LogMelProcessor"]

LOUDEST: Final = 1e10
"""Samples above are damage, whatever integers they were once; their power would leave float32."""

RANGE: Final = 8.0
"""Powers of ten below the loudest value of a spectrogram at which it ends, as in Whisper."""

RESOLUTION: Final = 1e-6
"""Variation below this share of the largest value is rounding of float32, not signal."""


class LogMelProcessor(Processor[ConformerConfig, Waveform]):
    """Takes the log-mel spectrogram of a recording, in windows of 25 ms every 10 ms.

    Values end 80 dB below the loudest, and all of a recording's together have mean 0 and standard deviation 1: how loud
    it is does not matter.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__(config)
        window = config.rate // 40
        self.spectrogram = MelSpectrogram(
            config.rate,
            n_fft=1 << (window - 1).bit_length(),
            win_length=window,
            hop_length=config.hop,
            n_mels=config.mel_bins,
            pad_mode="constant",
            norm="slaney",
        )

    def __call__(self, signal: Waveform) -> MediaItem:
        """Make ``mel [mel bins, frames]``, float32; the length is the number of frames, one for each begun 10 ms.

        Raises:
            DataError: The recording has no samples, or some are NaN, infinite or huge.
        """
        if not signal.samples.size:
            raise _unusable("the recording has no samples")
        peak = np.abs(signal.samples).max()
        if not peak <= LOUDEST:  # NaN neither
            raise _unusable(f"the recording holds samples of {peak:g}, where full scale is 1")
        samples = resample(torch.from_numpy(signal.samples.copy()), signal.rate, self.config.rate)
        frames = -(-len(samples) // self.config.hop)
        power: Tensor = self.spectrogram(samples)[:, :frames]
        log = power.clamp(min=1e-10).log10()
        log = log.clamp(min=float(log.max()) - RANGE)
        return MediaItem({"mel": _normalized(log, None)}, frames)


class FramesProcessor(Processor[ConformerFeaturesConfig, FeatureFrames]):
    """Checks frames and normalizes them."""

    def __call__(self, signal: FeatureFrames) -> MediaItem:
        """Make ``mel [dims, frames]``, float32; the length is the number of frames.

        Raises:
            DataError: No frames, another number of dims, NaN or infinite values.
        """
        frames, dims = signal.values.shape
        component = f"encoder/{self.config.type}"
        if not frames:
            raise DataError("the features have no frames", component=component, hint="leave them out")
        if dims != self.config.in_dim:
            raise DataError(
                f"a frame has {dims} dims, the encoder reads {self.config.in_dim}",
                component=component,
                hint=f"give the features that the model was trained on, or train with `in_dim: {dims}`",
            )
        if not np.isfinite(signal.values).all():
            frame, dim = np.argwhere(~np.isfinite(signal.values))[0]
            raise DataError(
                f"the features hold {signal.values[frame, dim]} at frame {frame} of dim {dim}",
                component=component,
                hint="correct or leave out what made them",
            )
        values = torch.from_numpy(signal.values.astype(np.float32).T.copy())
        return MediaItem({"mel": _normalized(values, 1) if self.config.normalize else values}, frames)


def _normalized(values: Tensor, axis: int | None) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1 along ``axis``; what is constant becomes zeros."""
    exact = values.numpy().astype(np.float64)
    mean, deviation = exact.mean(axis=axis, keepdims=True), exact.std(axis=axis, keepdims=True)
    is_signal = deviation > RESOLUTION * np.abs(exact).max(axis=axis, keepdims=True)
    normalized = np.where(is_signal, exact - mean, 0.0) / np.where(is_signal, deviation, 1.0)
    return torch.from_numpy(normalized.astype(np.float32))


def _unusable(message: str) -> DataError:
    return DataError(message, component="encoder/conformer", hint="save it again from its source, or leave it out")
