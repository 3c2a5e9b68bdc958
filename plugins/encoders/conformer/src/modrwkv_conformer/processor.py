"""Recordings and ready-made frames to media items, which hold ``mel [dims, frames]``."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from modrwkv_conformer.config import ConformerConfig, ConformerFeaturesConfig
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.frames import checked_frames, standardized
from modrwkv_core.interfaces.signals import FeatureFrames, Waveform
from modrwkv_core.interfaces.spectrogram_samples import spectrogram_samples
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["FramesProcessor", "LogMelProcessor"]

RANGE: Final = 8.0
"""Powers of ten below the loudest value of a spectrogram at which it ends, as in Whisper."""


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
        samples = spectrogram_samples(signal, self.config.rate, "encoder/conformer")
        frames = -(-len(samples) // self.config.hop)
        power: Tensor = self.spectrogram(samples)[:, :frames]
        log = power.clamp(min=1e-10).log10()
        log = log.clamp(min=float(log.max()) - RANGE)
        return MediaItem({"mel": torch.from_numpy(standardized(log.numpy(), None))}, frames)


class FramesProcessor(Processor[ConformerFeaturesConfig, FeatureFrames]):
    """Checks frames and normalizes them."""

    def __call__(self, signal: FeatureFrames) -> MediaItem:
        """Make ``mel [dims, frames]``, float32; the length is the number of frames.

        Raises:
            DataError: No frames, another number of dims, NaN or infinite values.
        """
        values = checked_frames(signal, self.config.in_dim, "encoder/conformer_features")
        frames = standardized(values, 0) if self.config.normalize else values.astype(np.float32)
        return MediaItem({"mel": torch.from_numpy(frames.T.copy())}, len(frames))
