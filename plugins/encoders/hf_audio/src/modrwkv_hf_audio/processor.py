"""Recordings to the samples that the towers read."""

from __future__ import annotations

from modrwkv_core.interfaces.waveform_processor import WaveformProcessor
from modrwkv_hf_audio.config import HFAudioConfig

__all__ = ["HFAudioProcessor"]


class HFAudioProcessor(WaveformProcessor[HFAudioConfig]):
    """Resamples a recording to the encoder's rate and, where the checkpoint wants it, normalizes it."""
