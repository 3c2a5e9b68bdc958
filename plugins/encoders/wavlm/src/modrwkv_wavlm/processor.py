"""Recordings to the samples that WavLM reads."""

from __future__ import annotations

from modrwkv_core.interfaces.waveform_processor import WaveformProcessor
from modrwkv_wavlm.config import WavLMConfig

__all__ = ["WavLMProcessor"]


class WavLMProcessor(WaveformProcessor[WavLMConfig]):
    """Resamples a recording to the encoder's rate and, where the checkpoint wants it, normalizes it."""
