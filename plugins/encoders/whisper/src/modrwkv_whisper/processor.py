"""Recordings to the spectrograms that Whisper reads."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.spectrogram_samples import spectrogram_samples
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_whisper.config import HOP, RATE, WhisperConfig

__all__ = ["WhisperProcessor"]

FRAME: Final = 400
"""Samples that one frame of the spectrogram sees, half of them before its place and half after it."""


class WhisperProcessor(Processor[WhisperConfig, Waveform]):
    """Resamples a recording to 16 kHz and takes Whisper's own log-mel spectrogram of each window.

    Nearly all of a short recording's window is padding, whose frames are all alike. Only the first of them is computed;
    the encoder repeats it to the window's end.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.spectrogram = WhisperFeatureExtractor(  # type: ignore[no-untyped-call]
            feature_size=config.mel_bins, sampling_rate=RATE, hop_length=HOP, n_fft=FRAME
        )

    def __call__(self, signal: Waveform) -> MediaItem:
        """Make ``mel [mel bins, frames]``, float32, the windows one after the other; the length is that in samples.

        All windows but the last are whole; the last may end with a frame that stands for the rest of it.

        Raises:
            DataError: The recording has no samples, or some are NaN, infinite or huge.
        """
        samples = spectrogram_samples(signal, RATE, "encoder/whisper")
        windows = torch.split(samples, self.config.window_samples)
        return MediaItem({"mel": torch.cat([self._window(window) for window in windows], dim=1)}, len(samples))

    def _window(self, samples: Tensor) -> Tensor:
        first_silent_frame = -(-(len(samples) + FRAME // 2) // HOP)
        padded = min((first_silent_frame + 1) * HOP, self.config.window_samples)
        mel: Tensor = self.spectrogram(
            samples.numpy(), sampling_rate=RATE, max_length=padded, return_tensors="pt"
        ).input_features[0]
        return mel
